/* What both loops share: files, and the commands on standard input.
 *
 * Each line is a number of inferences; the answer is a line of as many times in nanoseconds, of
 * `infer` and nothing else.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void *symbol(void *library, const char *name) {
  void *found = dlsym(library, name);
  if (!found) fail(name, dlerror());
  return found;
}

static void *open_library(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) fail(path, dlerror());
  return library;
}

static void *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file) fail(path, "can't be opened");
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  void *bytes = aligned_alloc(64, (*size + 63) / 64 * 64);
  if (!bytes || fread(bytes, 1, *size, file) != *size) fail(path, "can't be read");
  fclose(file);
  return bytes;
}

static int64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void serve(void (*infer)(void)) {
  long count;
  while (scanf("%ld", &count) == 1) {
    int64_t *spent = malloc(sizeof *spent * (size_t)count);
    for (long i = 0; i < count; i++) {
      int64_t began = now_ns();
      infer();
      spent[i] = now_ns() - began;
    }
    for (long i = 0; i < count; i++) printf("%lld%c", (long long)spent[i], i + 1 < count ? ' ' : '\n');
    fflush(stdout);
    free(spent);
  }
}
