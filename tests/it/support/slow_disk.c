/* Delays the syncs of chosen files in the program that is preloaded with this, as a stalling volume does, or fails them.
 * SLOW_DISK names a file of lines "PART MILLISECONDS": a file whose path contains PART waits so long before each sync; with
 * less than 0 its sync fails, and what was written stays. It is read again while a sync waits, so that the disk can be let go
 * at once: what waited for as long as is now asked goes on. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* How long this file waits by what is asked now, milliseconds, or less than 0; no allocation, whichever allocator the program has. */
static long asked(const char *path) {
    const char *control = getenv("SLOW_DISK");
    char text[1024], part[256], *line, *rest = text;
    long delay, longest = 0;
    int file = control ? open(control, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length < 0) return 0;
    text[length] = 0;
    while ((line = strsep(&rest, "\n")))
        if (sscanf(line, "%255s %ld", part, &delay) == 2 && strstr(path, part) && longest >= 0 && (delay < 0 || delay > longest)) longest = delay;
    return longest;
}

static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Stalls; answers whether the sync is to fail. */
static int stall(int fd) {
    char link[64], path[4096];
    int before = errno;
    long wait = 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length >= 0) {
        path[length] = 0;
        for (long began = now(); now() - began < (wait = asked(path));) usleep(10000);
    }
    errno = wait < 0 ? EIO : before;
    return wait < 0;
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return stall(fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return stall(fd) ? -1 : real(fd);
}
