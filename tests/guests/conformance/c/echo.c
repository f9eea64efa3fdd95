/* The conformance contract for a command (`../README.md`): gives back what it reads, and says what it was started with. */

#include <stdio.h>
#include <stdlib.h>

extern char **environ;

int main(int argc, char **argv) {
  for (int i = 0; i < argc; i++) {
    fprintf(stderr, "argument %s\n", argv[i]);
  }
  for (char **variable = environ; *variable != NULL; variable++) {
    fprintf(stderr, "variable %s\n", *variable);
  }

  static char piece[64 * 1024];
  size_t length;
  while ((length = fread(piece, 1, sizeof piece, stdin)) > 0) {
    if (fwrite(piece, 1, length, stdout) != length) {
      return EXIT_FAILURE;
    }
  }
  return ferror(stdin) || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
