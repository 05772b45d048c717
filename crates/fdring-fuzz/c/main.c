/* A main function for targets, where no fuzzing engine is at hand: it needs nothing but a C compiler.
 *
 *     TARGET FILE...          runs each file once, and each file of a directory
 *     TARGET -random=N        runs N inputs of random bytes; what crashes is written to crash-random
 *     TARGET -random=N -seed=S    other ones
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t input[1 << 20];
static size_t input_size;

static void write_input(int signal_number) {
    int file = open("crash-random", O_CREAT | O_TRUNC | O_WRONLY, 0644);
    if (file >= 0 && write(file, input, input_size) == (ssize_t)input_size) {
        static const char said[] = "the input is in crash-random\n";
        if (write(2, said, sizeof said - 1) < 0) {}
    }
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static unsigned long run_file(const char *path) {
    DIR *directory = opendir(path);
    if (directory != NULL) {
        unsigned long count = 0;
        for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
            char below[4096];
            if (entry->d_name[0] == '.')
                continue;
            snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
            count += run_file(below);
        }
        closedir(directory);
        return count;
    }
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    input_size = fread(input, 1, sizeof input, file);
    fclose(file);
    LLVMFuzzerTestOneInput(input, input_size);
    return 1;
}

static uint64_t state = 1;

/* xorshift64*: the same numbers on every machine. */
static uint64_t next(void) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 2685821657736338717u;
}

static void run_random(unsigned long runs) {
    int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], write_input);
    for (unsigned long run = 0; run < runs; run++) {
        input_size = next() % 96;
        for (size_t i = 0; i < input_size; i++) {
            uint64_t word = next();
            /* Small bytes are what choices and lengths are made of. */
            input[i] = (uint8_t)(word & 0x100 ? word : word & 15);
        }
        LLVMFuzzerTestOneInput(input, input_size);
    }
}

int main(int argc, char **argv) {
    unsigned long runs = 0, files = 0;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "-random=", 8) == 0)
            runs = strtoul(argv[i] + 8, NULL, 10);
        else if (strncmp(argv[i], "-seed=", 6) == 0)
            state = strtoull(argv[i] + 6, NULL, 10) * 2 + 1;
        else
            files += run_file(argv[i]);
    }
    run_random(runs);
    printf("%lu inputs\n", files + runs);
    return files + runs == 0;
}
