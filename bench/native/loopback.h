// What both tools need: the clock, whole sends, and sockets on 127.0.0.1.

#pragma once
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static inline double now_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline bool send_all(int socket, const char *bytes, size_t count, int flags) {
    while (count > 0) {
        ssize_t sent = send(socket, bytes, count, MSG_NOSIGNAL | flags);
        if (sent <= 0) {
            return false;
        }
        bytes += sent;
        count -= (size_t)sent;
    }
    return true;
}

static inline struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

// Small answers and the ends of bodies leave at once.
static inline void send_without_delay(int socket) {
    int one = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

// Says what went wrong with the tool itself, and ends it.
static inline void fail(const char *what) {
    perror(what);
    exit(2);
}

// The number that `text` is; ends the tool if it is none.
static inline double number_in(const char *text) {
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end != 0 || number < 0) {
        fprintf(stderr, "not a number: %s\n", text);
        exit(2);
    }
    return number;
}
