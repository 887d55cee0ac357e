// Makes calls on files below one folder fail, from outside: LD_PRELOAD of a program under test.
//
// FAULTS_BELOW   the folder (only files whose path begins with it are touched)
// FAULTS_WHO     a word that must stand in the command line of the process (the proxy hands its environment to its child)
// FAULTS_SWITCH  a file: faults happen while it exists. Its text: "CALLS ERRNO PERMILLE", e.g. "write,fsync 28 300".
//                PERMILLE 0 and a fourth number N: exactly the N-th such call after the switch was thrown fails.
// FAULTS_COUNT   a file to which each fault appends one line: the call and the path.
//
// Calls that go to the kernel without the C library (as the crate rustix makes them) are not seen.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const char *below, *control, *count;
static int is_meant;
static atomic_ulong calls;
static __thread unsigned seed;

__attribute__((constructor)) static void begin(void) {
    const char *who = getenv("FAULTS_WHO");
    char line[4096] = {0};
    below = getenv("FAULTS_BELOW");
    control = getenv("FAULTS_SWITCH");
    count = getenv("FAULTS_COUNT");
    int file = syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY);
    long size = syscall(SYS_read, file, line, sizeof line - 1);
    syscall(SYS_close, file);
    for (long at = 0; at < size; at++)
        if (!line[at]) line[at] = ' ';
    is_meant = below && control && (!who || strstr(line, who));
}

static void tell(const char *call, const char *path) {
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s %s\n", call, path);
    int file = syscall(SYS_openat, AT_FDCWD, count ? count : "/dev/null", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    syscall(SYS_write, file, line, length);
    syscall(SYS_close, file);
}

// The errno with which this call is to fail, 0 when it is to be made.
static int fault_at(const char *call, const char *path) {
    char text[128] = {0}, names[96];
    int number = 0, permille = 0;
    unsigned long nth = 0;
    int kept = errno;
    if (strncmp(path, below, strlen(below))) return 0;
    int file = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
    if (file < 0) { atomic_store(&calls, 0); errno = kept; return 0; }
    syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    errno = kept;
    if (sscanf(text, "%95s %d %d %lu", names, &number, &permille, &nth) < 3) return 0;
    char padded[128], wanted[32];
    snprintf(padded, sizeof padded, ",%s,", names);
    snprintf(wanted, sizeof wanted, ",%s,", call);
    if (!strstr(padded, wanted)) return 0;
    if (!seed) seed = (unsigned)time(NULL) ^ (unsigned)syscall(SYS_gettid) * 2654435761u;
    unsigned long now = atomic_fetch_add(&calls, 1) + 1;
    if (nth ? now != nth : rand_r(&seed) % 1000 >= (unsigned)permille) return 0;
    tell(call, path);
    return number;
}

static int fault(const char *call, int descriptor) {
    char link[64], path[PATH_MAX];
    if (!is_meant) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long length = syscall(SYS_readlink, link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return fault_at(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL_AS(word, descriptor) do { int number = fault(word, descriptor); if (number) { errno = number; return -1; } } while (0)

ssize_t write(int descriptor, const void *bytes, size_t length) {
    int number = fault("short", descriptor);
    if (number && length > 1) return REAL(write)(descriptor, bytes, length / 2);
    FAIL_AS("write", descriptor);
    return REAL(write)(descriptor, bytes, length);
}
ssize_t writev(int descriptor, const struct iovec *parts, int many) { FAIL_AS("write", descriptor); return REAL(writev)(descriptor, parts, many); }
ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t at) { FAIL_AS("write", descriptor); return REAL(pwrite)(descriptor, bytes, length, at); }
ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off64_t at) { FAIL_AS("write", descriptor); return REAL(pwrite64)(descriptor, bytes, length, at); }
ssize_t read(int descriptor, void *bytes, size_t length) { FAIL_AS("read", descriptor); return REAL(read)(descriptor, bytes, length); }
ssize_t pread64(int descriptor, void *bytes, size_t length, off64_t at) { FAIL_AS("read", descriptor); return REAL(pread64)(descriptor, bytes, length, at); }
int fsync(int descriptor) { FAIL_AS("fsync", descriptor); return REAL(fsync)(descriptor); }
int fdatasync(int descriptor) { FAIL_AS("fsync", descriptor); return REAL(fdatasync)(descriptor); }
int ftruncate(int descriptor, off_t length) { FAIL_AS("truncate", descriptor); return REAL(ftruncate)(descriptor, length); }
int ftruncate64(int descriptor, off64_t length) { FAIL_AS("truncate", descriptor); return REAL(ftruncate64)(descriptor, length); }
int fallocate(int descriptor, int mode, off_t at, off_t length) { FAIL_AS("allocate", descriptor); return REAL(fallocate)(descriptor, mode, at, length); }
int fallocate64(int descriptor, int mode, off64_t at, off64_t length) { FAIL_AS("allocate", descriptor); return REAL(fallocate64)(descriptor, mode, at, length); }
int posix_fallocate(int descriptor, off_t at, off_t length) { int number = fault("allocate", descriptor); return number ? number : REAL(posix_fallocate)(descriptor, at, length); }
int posix_fallocate64(int descriptor, off64_t at, off64_t length) { int number = fault("allocate", descriptor); return number ? number : REAL(posix_fallocate64)(descriptor, at, length); }

static int fault_on_path(const char *call, const char *path) { return is_meant && path[0] == '/' ? fault_at(call, path) : 0; }

int rename(const char *from, const char *to) {
    int number = fault_on_path("rename", to);
    if (number) { errno = number; return -1; }
    return REAL(rename)(from, to);
}
int unlink(const char *path) {
    int number = fault_on_path("unlink", path);
    if (number) { errno = number; return -1; }
    return REAL(unlink)(path);
}
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    int number = flags & O_CREAT ? fault_on_path("create", path) : 0;
    if (number) { errno = number; return -1; }
    return REAL(open64)(path, flags, mode);
}
