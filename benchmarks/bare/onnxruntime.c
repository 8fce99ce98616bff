/* A bare loop over ONNX Runtime's C API, with the session options that the agent uses.
 *
 * A library for onnxruntime_host.py. The Python package carries the runtime twice, as
 * libonnxruntime.so and within its own module, and one of the two can be a percent slower than the
 * other: this is the module's. It hands out its functions to whoever registers custom operators;
 * from then on no Python runs.
 *
 * The outputs that the first inference allocates are written to again by the others.
 *
 * OrtApi is a table of functions to which new ones are only ever added at the end
 * (onnxruntime_c_api.h, which the package does not carry): the numbers are places in it.
 */
#include "loop.h"

typedef void *Status;
typedef struct {
  const void *const *(*get_api)(uint32_t version);
  const char *(*get_version)(void);
} ApiBase;

enum {
  GET_ERROR_MESSAGE = 2,
  CREATE_ENV = 3,
  CREATE_SESSION = 7,
  RUN = 9,
  CREATE_SESSION_OPTIONS = 10,
  SET_INTRA_OP_NUM_THREADS = 24,
  SET_INTER_OP_NUM_THREADS = 25,
  CREATE_TENSOR_WITH_DATA = 49,
  CREATE_CPU_MEMORY_INFO = 69,
  ADD_SESSION_CONFIG_ENTRY = 130,
  API_VERSION = 12
};

static const ApiBase *base;
static const void *const *api;
static void *session, *input;
static const char *input_name, **output_names;
static size_t output_count;
static void **outputs;
static Status (*run)(void *, const void *, const char *const *, const void *const *, size_t,
                     const char *const *, size_t, void **);

static void check(Status status) {
  if (status) fail("ONNX Runtime", ((const char *(*)(Status))api[GET_ERROR_MESSAGE])(status));
}

static void infer(void) {
  check(run(session, NULL, &input_name, (const void *const *)&input, 1, output_names, output_count,
            outputs));
}

Status RegisterCustomOps(void *options, const ApiBase *given) {
  (void)options;
  base = given;
  return NULL;
}

/* MODEL THREADS INPUT-NAME ELEMENT-TYPE FILE OUTPUTS OUTPUT-NAME... DIMENSION... */
int loop(int count, char **words) {
  if (count < 7 || !base) fail("usage", "see onnxruntime_host.py");
  api = base->get_api(API_VERSION);
  if (!api) fail("ONNX Runtime", "has not the API version that this loop is written for");
  run = (Status(*)(void *, const void *, const char *const *, const void *const *, size_t,
                   const char *const *, size_t, void **))api[RUN];

  void *environment, *options, *memory;
  int threads = atoi(words[1]);
  check(((Status(*)(int, const char *, void **))api[CREATE_ENV])(2, "bare", &environment));
  check(((Status(*)(void **))api[CREATE_SESSION_OPTIONS])(&options));
  check(((Status(*)(void *, int))api[SET_INTRA_OP_NUM_THREADS])(options, threads));
  check(((Status(*)(void *, int))api[SET_INTER_OP_NUM_THREADS])(options, 1));
  check(((Status(*)(void *, const char *, const char *))api[ADD_SESSION_CONFIG_ENTRY])(
      options, "session.intra_op.allow_spinning", "0"));
  check(((Status(*)(void *, const char *, void *, void **))api[CREATE_SESSION])(
      environment, words[0], options, &session));

  size_t size;
  void *bytes = read_file(words[4], &size);
  input_name = words[2];
  output_count = (size_t)atoi(words[5]);
  output_names = (const char **)words + 6;
  outputs = calloc(output_count, sizeof *outputs);
  int64_t dimensions[16];
  size_t rank = 0;
  for (int i = 6 + (int)output_count; i < count && rank < 16; i++)
    dimensions[rank++] = atoll(words[i]);
  check(((Status(*)(int, int, void **))api[CREATE_CPU_MEMORY_INFO])(0, 0, &memory));
  check(((Status(*)(void *, void *, size_t, const int64_t *, size_t, int, void **))
             api[CREATE_TENSOR_WITH_DATA])(memory, bytes, size, dimensions, rank, atoi(words[3]),
                                           &input));
  serve(infer);
  return 0;
}
