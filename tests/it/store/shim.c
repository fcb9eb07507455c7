/* A disk that fails, for tests: loaded before the C library, it stands between a program and its files.
 *
 * Only files are concerned whose path holds the text of SHIM_PATH.
 *   SHIM_FAIL_SYNC=N   the Nth fsync or fdatasync fails with EIO; those after it end well
 *   SHIM_SKIP_SYNC=1   none is carried out, and all end well
 *   SHIM_DELAY=MS      each takes so much longer
 *   SHIM_SHADOW=DIR    after each that is carried out, DIR has a copy of the file: what a power cut would leave
 *   SHIM_BUDGET=BYTES  files may grow by so much together; then writes fail with ENOSPC. What is deleted or cut gives room back
 *   SHIM_ROOM=FILE     as long as this file is there, there is room again
 *   SHIM_BROKEN=FILE   as long as this file is there, writes fail with EIO
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long syncs, used;
static pthread_mutex_t shadowing = PTHREAD_MUTEX_INITIALIZER;

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : -1;
}

/* Whether an open file is concerned; its path is put where `path` is. */
static int concerned(int file, char *path) {
    const char *wanted = getenv("SHIM_PATH");
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return wanted && strstr(path, wanted) != NULL;
}

static void shadow(int file, const char *path) {
    const char *folder = getenv("SHIM_SHADOW");
    if (!folder) return;
    const char *name = strrchr(path, '/');
    char target[PATH_MAX * 2], fresh[PATH_MAX * 2 + 8], block[65536];
    snprintf(target, sizeof target, "%s/%s", folder, name ? name + 1 : path);
    snprintf(fresh, sizeof fresh, "%s.new", target);
    pthread_mutex_lock(&shadowing);
    int from = open(path, O_RDONLY | O_CLOEXEC), to = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t length;
    while (from >= 0 && to >= 0 && (length = read(from, block, sizeof block)) > 0)
        if (NEXT(write)(to, block, (size_t)length) != length) break;
    if (from >= 0) close(from);
    if (to >= 0) close(to);
    rename(fresh, target);
    pthread_mutex_unlock(&shadowing);
    (void)file;
}

/* 1: carry it out; 0: it ended well; -1: it failed. */
static int before_sync(int file, char *path) {
    if (!concerned(file, path)) return 2;
    if (atomic_fetch_add(&syncs, 1) + 1 == number("SHIM_FAIL_SYNC")) {
        errno = EIO;
        return -1;
    }
    long delay = number("SHIM_DELAY");
    if (delay > 0) usleep((useconds_t)delay * 1000);
    return number("SHIM_SKIP_SYNC") == 1 ? 0 : 1;
}

int fsync(int file) {
    char path[PATH_MAX];
    int what = before_sync(file, path);
    if (what <= 0) return what;
    int done = NEXT(fsync)(file);
    if (done == 0 && what == 1) shadow(file, path);
    return done;
}

int fdatasync(int file) {
    char path[PATH_MAX];
    int what = before_sync(file, path);
    if (what <= 0) return what;
    int done = NEXT(fdatasync)(file);
    if (done == 0 && what == 1) shadow(file, path);
    return done;
}

/* Whether a file may reach to this place. */
static int may_grow(int file, off_t end) {
    long budget = number("SHIM_BUDGET");
    char path[PATH_MAX];
    struct stat state;
    if (budget < 0 || !concerned(file, path) || fstat(file, &state) != 0 || end <= state.st_size) return 1;
    const char *room = getenv("SHIM_ROOM");
    if (room && access(room, F_OK) == 0) return 1;
    long growth = (long)(end - state.st_size);
    if (atomic_fetch_add(&used, growth) + growth <= budget) return 1;
    atomic_fetch_sub(&used, growth);
    errno = ENOSPC;
    return 0;
}

static off_t place(int file) {
    struct stat state;
    if (fcntl(file, F_GETFL) & O_APPEND) return fstat(file, &state) == 0 ? state.st_size : 0;
    off_t at = lseek(file, 0, SEEK_CUR);
    return at < 0 ? 0 : at;
}

static int is_broken(int file) {
    const char *broken = getenv("SHIM_BROKEN");
    char path[PATH_MAX];
    if (!broken || access(broken, F_OK) != 0 || !concerned(file, path)) return 0;
    errno = EIO;
    return 1;
}

ssize_t write(int file, const void *bytes, size_t length) {
    if (is_broken(file)) return -1;
    if (number("SHIM_BUDGET") >= 0 && !may_grow(file, place(file) + (off_t)length)) return -1;
    return NEXT(write)(file, bytes, length);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t at) {
    if (is_broken(file)) return -1;
    return may_grow(file, at + (off_t)length) ? NEXT(pwrite)(file, bytes, length, at) : -1;
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t at) {
    if (is_broken(file)) return -1;
    return may_grow(file, (off_t)at + (off_t)length) ? NEXT(pwrite64)(file, bytes, length, at) : -1;
}

int fallocate(int file, int mode, off_t at, off_t length) {
    return may_grow(file, at + length) ? NEXT(fallocate)(file, mode, at, length) : -1;
}

int posix_fallocate(int file, off_t at, off_t length) {
    return may_grow(file, at + length) ? NEXT(posix_fallocate)(file, at, length) : ENOSPC;
}

static void give_back(off_t from, off_t to) {
    if (to < from) atomic_fetch_sub(&used, (long)(from - to));
}

static void before_cut(int file, off_t length) {
    char path[PATH_MAX];
    struct stat state;
    if (concerned(file, path) && fstat(file, &state) == 0) give_back(state.st_size, length);
}

int ftruncate(int file, off_t length) {
    before_cut(file, length);
    return NEXT(ftruncate)(file, length);
}

int ftruncate64(int file, off64_t length) {
    before_cut(file, (off_t)length);
    return NEXT(ftruncate64)(file, length);
}

int unlink(const char *path) {
    const char *wanted = getenv("SHIM_PATH"), *shadows = getenv("SHIM_SHADOW"), *name = strrchr(path, '/');
    struct stat state;
    if (wanted && strstr(path, wanted) && stat(path, &state) == 0) give_back(state.st_size, 0);
    int done = NEXT(unlink)(path);
    if (done == 0 && shadows && wanted && strstr(path, wanted)) {
        char target[PATH_MAX * 2];
        snprintf(target, sizeof target, "%s/%s", shadows, name ? name + 1 : path);
        NEXT(unlink)(target);
    }
    return done;
}
