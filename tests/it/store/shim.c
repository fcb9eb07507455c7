/* A disk that fails, for tests: loaded before the C library, it stands between a program and its files.
 *
 * Only files are concerned whose path holds the text of SHIM_PATH, or one of its texts: a colon stands between two.
 *   SHIM_FAIL_SYNC=N   the Nth fsync or fdatasync fails with EIO; those after it end well
 *   SHIM_SKIP_SYNC=1   none is carried out, and all end well
 *   SHIM_DELAY=MS      each takes so much longer
 *   SHIM_SHADOW=DIR    after each that is carried out, DIR has a copy of the file: what a power cut would leave
 *   SHIM_FOLDER=PATH   of this folder DIR has a file once it was synced under its name: what was not synced before is empty there, and
 *                      what got its name later is not there. NAME.named is beside it in DIR once the folder above it was synced too
 *   SHIM_BUDGET=BYTES  files may grow by so much together; then writes fail with ENOSPC. What is deleted or cut gives room back
 *   SHIM_ROOM=FILE     as long as this file is there, there is room again
 *   SHIM_BROKEN=FILE   as long as this file is there, writes fail with EIO
 */
#define _GNU_SOURCE
#include <dirent.h>
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

static int is_wanted(const char *path) {
    const char *wanted = getenv("SHIM_PATH");
    while (wanted && *wanted) {
        size_t length = strcspn(wanted, ":");
        if (length > 0 && memmem(path, strlen(path), wanted, length)) return 1;
        wanted += length + (wanted[length] == ':');
    }
    return 0;
}

/* Whether an open file is concerned; its path is put where `path` is. */
static int concerned(int file, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length >= 0 && is_wanted(path);
}

static const char *name_of(const char *path) {
    const char *name = strrchr(path, '/');
    return name ? name + 1 : path;
}

/* The folder whose names have to be synced, if `path` is in it, or it itself. */
static const char *folder_of(const char *path) {
    const char *folder = getenv("SHIM_FOLDER");
    size_t length = folder ? strlen(folder) : 0;
    return folder && strncmp(path, folder, length) == 0 && (path[length] == 0 || path[length] == '/') ? folder : NULL;
}

static void copy(const char *path, const char *target) {
    char fresh[PATH_MAX * 2 + 8], block[65536];
    snprintf(fresh, sizeof fresh, "%s.new", target);
    int from = open(path, O_RDONLY | O_CLOEXEC), to = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t length;
    while (from >= 0 && to >= 0 && (length = read(from, block, sizeof block)) > 0)
        if (NEXT(write)(to, block, (size_t)length) != length) break;
    if (from >= 0) close(from);
    if (to >= 0) close(to);
    rename(fresh, target);
}

/* Gives what was synced of each file of a folder the names that the files have now. */
static void name_all(const char *shadows, const char *path) {
    char target[PATH_MAX * 2], known[PATH_MAX], content[PATH_MAX];
    snprintf(known, sizeof known, "%s/%s", shadows, name_of(path));
    mkdir(known, 0700);
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        snprintf(target, sizeof target, "%s/%s", known, entry->d_name);
        snprintf(content, sizeof content, "%s/inode.%lu", shadows, (unsigned long)entry->d_ino);
        if (rename(content, target) == 0 || access(target, F_OK) == 0) continue;
        int empty = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (empty >= 0) close(empty);
    }
    if (folder) closedir(folder);
}

static void shadow(int file, const char *path) {
    const char *shadows = getenv("SHIM_SHADOW");
    char target[PATH_MAX * 2];
    struct stat state;
    if (!shadows || fstat(file, &state) != 0) return;
    pthread_mutex_lock(&shadowing);
    if (S_ISDIR(state.st_mode)) {
        if (folder_of(path)) name_all(shadows, path);
    } else {
        if (folder_of(path)) snprintf(target, sizeof target, "%s/inode.%lu", shadows, (unsigned long)state.st_ino);
        else snprintf(target, sizeof target, "%s/%s", shadows, name_of(path));
        copy(path, target);
    }
    pthread_mutex_unlock(&shadowing);
}

/* A folder was synced: if the one whose names count is in it, that one has its name for good. */
static void name_folder(const char *path) {
    const char *shadows = getenv("SHIM_SHADOW"), *folder = getenv("SHIM_FOLDER");
    size_t length = strlen(path);
    char target[PATH_MAX * 2];
    if (number("SHIM_SKIP_SYNC") == 1) return;
    if (!shadows || !folder || strncmp(folder, path, length) != 0 || folder[length] != '/' || strchr(folder + length + 1, '/')) return;
    if (access(folder, F_OK) != 0) return;
    snprintf(target, sizeof target, "%s/%s.named", shadows, name_of(folder));
    int named = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (named >= 0) close(named);
}

/* 1: carry it out; 2: it is nobody's business; 0: it ended well; -1: it failed. */
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
    if (done == 0 && what == 2) name_folder(path);
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

/* Of the folder whose names count nothing goes from the copy: what is removed there may come back with the power. */
int unlink(const char *path) {
    const char *shadows = getenv("SHIM_SHADOW");
    struct stat state;
    char whole[PATH_MAX];
    /* The program may name it from the folder that it is in, and SHIM_PATH a folder above. */
    if (!realpath(path, whole)) snprintf(whole, sizeof whole, "%s", path);
    if (is_wanted(whole) && stat(path, &state) == 0) give_back(state.st_size, 0);
    int done = NEXT(unlink)(path);
    if (done == 0 && shadows && is_wanted(whole) && !folder_of(whole)) {
        char target[PATH_MAX * 2];
        snprintf(target, sizeof target, "%s/%s", shadows, name_of(whole));
        NEXT(unlink)(target);
    }
    return done;
}
