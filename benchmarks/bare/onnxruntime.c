/* A bare loop over ONNX Runtime's C API, with the session options that the agent uses.
 *
 *   onnxruntime LIBRARY MODEL THREADS INPUT-NAME ELEMENT-TYPE FILE OUTPUTS OUTPUT-NAME... DIMENSION...
 *
 * The wheels carry the library but no header. OrtApi is a table of functions to which new ones are
 * only ever added at the end (onnxruntime_c_api.h): the numbers are places in it.
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
  RELEASE_VALUE = 96,
  ADD_SESSION_CONFIG_ENTRY = 130,
  API_VERSION = 12
};

static const void *const *api;
static void *session, *input;
static const char *input_name, **output_names;
static size_t output_count;
static void **outputs;
static Status (*run)(void *, const void *, const char *const *, const void *const *, size_t,
                     const char *const *, size_t, void **);
static void (*release_value)(void *);

static void check(Status status) {
  if (status) fail("ONNX Runtime", ((const char *(*)(Status))api[GET_ERROR_MESSAGE])(status));
}

static void infer(void) {
  check(run(session, NULL, &input_name, (const void *const *)&input, 1, output_names, output_count,
            outputs));
}

static void tidy(void) {
  for (size_t i = 0; i < output_count; i++) {
    release_value(outputs[i]);
    outputs[i] = NULL;
  }
}

int main(int count, char **words) {
  if (count < 9) fail("usage", "see the top of this file");
  void *library = open_library(words[1]);
  const ApiBase *(*base)(void) = (const ApiBase *(*)(void))symbol(library, "OrtGetApiBase");
  api = base()->get_api(API_VERSION);
  if (!api) fail(words[1], "has not the API version that this loop is written for");
  run = (Status(*)(void *, const void *, const char *const *, const void *const *, size_t,
                   const char *const *, size_t, void **))api[RUN];
  release_value = (void (*)(void *))api[RELEASE_VALUE];

  void *environment, *options, *memory;
  int threads = atoi(words[3]);
  check(((Status(*)(int, const char *, void **))api[CREATE_ENV])(2, "bare", &environment));
  check(((Status(*)(void **))api[CREATE_SESSION_OPTIONS])(&options));
  check(((Status(*)(void *, int))api[SET_INTRA_OP_NUM_THREADS])(options, threads));
  check(((Status(*)(void *, int))api[SET_INTER_OP_NUM_THREADS])(options, 1));
  check(((Status(*)(void *, const char *, const char *))api[ADD_SESSION_CONFIG_ENTRY])(
      options, "session.intra_op.allow_spinning", "0"));
  check(((Status(*)(void *, const char *, void *, void **))api[CREATE_SESSION])(
      environment, words[2], options, &session));

  size_t size;
  void *bytes = read_file(words[6], &size);
  input_name = words[4];
  output_count = (size_t)atoi(words[7]);
  output_names = (const char **)words + 8;
  outputs = calloc(output_count, sizeof *outputs);
  int64_t dimensions[16];
  size_t rank = 0;
  for (int i = 8 + (int)output_count; i < count && rank < 16; i++)
    dimensions[rank++] = atoll(words[i]);
  check(((Status(*)(int, int, void **))api[CREATE_CPU_MEMORY_INFO])(0, 0, &memory));
  check(((Status(*)(void *, void *, size_t, const int64_t *, size_t, int, void **))
             api[CREATE_TENSOR_WITH_DATA])(memory, bytes, size, dimensions, rank, atoi(words[5]),
                                           &input));
  serve(infer, tidy);
  return 0;
}
