/* A bare loop over LiteRT's C API (litert/c), which libLiteRt.so of the wheel exports.
 *
 *   litert LIBRARY MODEL THREADS FILE
 *
 * The model has one signature with one input. XNNPACK is what the CPU accelerator uses by itself.
 */
#include "loop.h"

typedef int Status;
typedef struct {
  int element_type;
  struct {
    unsigned int rank : 7;
    unsigned int has_strides : 1;
    int32_t dimensions[8];
    uint32_t strides[8];
  } layout;
} TensorType;

enum { CPU = 1, WRITE = 1, MOST_OUTPUTS = 16 };

static void *compiled, *input, *outputs[MOST_OUTPUTS];
static size_t output_count;
static Status (*run)(void *, size_t, size_t, void **, size_t, void **);

static void check(Status status, const char *what) {
  char number[32];
  snprintf(number, sizeof number, "status %d", status);
  if (status) fail(what, number);
}

static void infer(void) { check(run(compiled, 0, 1, &input, output_count, outputs), "run"); }

#define FUNCTION(name, ...) Status (*name)(__VA_ARGS__) = (Status(*)(__VA_ARGS__))symbol(library, #name)

int main(int count, char **words) {
  if (count != 5) fail("usage", "see the top of this file");
  void *library = open_library(words[1]);
  FUNCTION(LiteRtCreateEnvironment, int, const void *, void **);
  FUNCTION(LiteRtCreateModelFromFile, void *, const char *, void **);
  FUNCTION(LiteRtCreateOptions, void **);
  FUNCTION(LiteRtSetOptionsHardwareAccelerators, void *, int);
  FUNCTION(LiteRtCreateOpaqueOptions, const char *, void *, void (*)(void *), void **);
  FUNCTION(LiteRtAddOpaqueOptions, void *, void *);
  FUNCTION(LiteRtCreateCompiledModel, void *, void *, void *, void **);
  FUNCTION(LiteRtGetModelSignature, void *, size_t, void **);
  FUNCTION(LiteRtGetNumSignatureOutputs, void *, size_t *);
  FUNCTION(LiteRtGetSignatureInputTensorByIndex, void *, size_t, void **);
  FUNCTION(LiteRtGetSignatureOutputTensorByIndex, void *, size_t, void **);
  FUNCTION(LiteRtGetRankedTensorType, void *, TensorType *);
  FUNCTION(LiteRtGetCompiledModelInputBufferRequirements, void *, size_t, size_t, void **);
  FUNCTION(LiteRtGetCompiledModelOutputBufferRequirements, void *, size_t, size_t, void **);
  FUNCTION(LiteRtCreateManagedTensorBufferFromRequirements, void *, const TensorType *, void *, void **);
  FUNCTION(LiteRtLockTensorBuffer, void *, void **, int);
  FUNCTION(LiteRtUnlockTensorBuffer, void *);
  run = (Status(*)(void *, size_t, size_t, void **, size_t, void **))symbol(
      library, "LiteRtRunCompiledModel");

  void *environment, *model, *options, *cpu, *signature, *tensor, *requirements, *memory;
  TensorType type;
  char *text = malloc(64);
  snprintf(text, 64, "num_threads = %d\n", atoi(words[3]));
  check(LiteRtCreateEnvironment(0, NULL, &environment), "environment");
  check(LiteRtCreateModelFromFile(environment, words[2], &model), words[2]);
  check(LiteRtCreateOptions(&options), "options");
  check(LiteRtSetOptionsHardwareAccelerators(options, CPU), "accelerator");
  check(LiteRtCreateOpaqueOptions("xnnpack", text, free, &cpu), "options of the CPU");
  check(LiteRtAddOpaqueOptions(options, cpu), "options of the CPU");
  check(LiteRtCreateCompiledModel(environment, model, options, &compiled), "compiled model");
  check(LiteRtGetModelSignature(model, 0, &signature), "signature");

  check(LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor), "input");
  check(LiteRtGetRankedTensorType(tensor, &type), "type of the input");
  check(LiteRtGetCompiledModelInputBufferRequirements(compiled, 0, 0, &requirements), "input");
  check(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, requirements, &input),
        "input");
  size_t size;
  void *bytes = read_file(words[4], &size);
  check(LiteRtLockTensorBuffer(input, &memory, WRITE), "input");
  memcpy(memory, bytes, size);
  check(LiteRtUnlockTensorBuffer(input), "input");

  check(LiteRtGetNumSignatureOutputs(signature, &output_count), "outputs");
  if (output_count > MOST_OUTPUTS) fail(words[2], "has too many outputs");
  for (size_t i = 0; i < output_count; i++) {
    check(LiteRtGetSignatureOutputTensorByIndex(signature, i, &tensor), "output");
    check(LiteRtGetRankedTensorType(tensor, &type), "type of an output");
    check(LiteRtGetCompiledModelOutputBufferRequirements(compiled, 0, i, &requirements), "output");
    check(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, requirements,
                                                          &outputs[i]),
          "output");
  }
  serve(infer);
  return 0;
}
