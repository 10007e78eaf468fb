// The sizes of the last million objects that a null S3 was sent: all that it keeps, so that HEAD can tell them.
//
// An object is known by a hash of its path, and a later one may take an earlier one's place.

#pragma once
#include "loopback.h"

enum { KNOWN_OBJECTS = 1 << 20 };

static struct known_object {
    uint64_t hash;
    long long bytes;
    bool is_whole; // not a multipart upload that goes on
} known_objects[KNOWN_OBJECTS];

static pthread_mutex_t knowing = PTHREAD_MUTEX_INITIALIZER;

// FNV-1a of the target's path, without its query.
static uint64_t hash_of(const char *line) {
    const char *path = strchr(line, '/');
    uint64_t hash = 14695981039346656037U;
    for (size_t at = 0, length = path != NULL ? strcspn(path, "? ") : 0; at < length; at++) {
        hash = (hash ^ (unsigned char)path[at]) * 1099511628211U;
    }
    return hash;
}

// What a request does to its object: a part adds to it, anything else that has a body is it.
static void note_bytes(const char *line, long long bytes, bool is_part, bool is_whole) {
    uint64_t hash = hash_of(line);
    struct known_object *known = &known_objects[hash % KNOWN_OBJECTS];
    pthread_mutex_lock(&knowing);
    *known = (struct known_object){hash, is_part && known->hash == hash ? known->bytes + bytes : bytes, is_whole};
    pthread_mutex_unlock(&knowing);
}

// The object's size, or -1 if there is none.
static long long known_bytes(const char *line) {
    uint64_t hash = hash_of(line);
    struct known_object *known = &known_objects[hash % KNOWN_OBJECTS];
    pthread_mutex_lock(&knowing);
    long long bytes = known->hash == hash && known->is_whole ? known->bytes : -1;
    pthread_mutex_unlock(&knowing);
    return bytes;
}
