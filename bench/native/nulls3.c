// A null S3: answers PUT, POST, HEAD, GET and DELETE as S3 would, and throws every body away inside the kernel.
//
// It promises to cost next to nothing, so that what is measured is who sends. It keeps objects' sizes for HEAD, but no
// byte of them (GET is 404), and checks nothing: no signature, checksum or condition.
//
//     nulls3 [--port N] [--delay-ms N] [--rate BYTES_PER_SECOND] [--tls FILE]
//
// listens on 127.0.0.1 (port 0, the default: any that is free) and prints its port once it does. `--delay-ms`: every
// answer comes that much later. `--rate`: all bodies together are read no faster than that, as from a slow account.
// `--tls`: by TLS 1.3, with the private key and the certificate chain in this PEM file (only if built with -DWITH_TLS).
// One thread a connection, for it sleeps in recv(2) nearly all the time.

#include "answers.h"
#include "loopback.h"
#include "sizes.h"
#include "tls.h"
#include <errno.h>
#include <getopt.h>
#include <signal.h>

enum { HEAD_BYTES = 64 * 1024, DISCARD_BYTES = 1024 * 1024, LINE_BYTES = 4096, STACK_BYTES = 256 * 1024 };

static double delay_seconds = 0;
static double bytes_per_second = 0; // 0: as fast as it comes

// One connection: `have` bytes were read ahead of what is being looked at.
struct connection {
    struct wire wire;
    size_t have;
    char ahead[HEAD_BYTES + 1];
};

struct request {
    char line[LINE_BYTES]; // method, target, version
    long long body_bytes, decoded_bytes; // -1: as many
    bool is_chunked;
    bool expects_continue;
};

static void sleep_seconds(double seconds) {
    if (seconds <= 0) {
        return;
    }
    struct timespec left = {.tv_sec = (time_t)seconds};
    left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

// Returns once these bytes may be read. All connections share one rate: each books its time after the last one's.
static void keep_to_the_rate(size_t bytes) {
    static pthread_mutex_t booking = PTHREAD_MUTEX_INITIALIZER;
    static double booked_until = 0;
    if (bytes_per_second <= 0) {
        return;
    }
    pthread_mutex_lock(&booking);
    double now = now_seconds();
    booked_until = (booked_until > now ? booked_until : now) + (double)bytes / bytes_per_second;
    double wait = booked_until - now;
    pthread_mutex_unlock(&booking);
    sleep_seconds(wait);
}

// Reads more ahead; false when the client has gone or there is no room.
static bool read_ahead(struct connection *on) {
    ssize_t got = receive(&on->wire, on->ahead + on->have, HEAD_BYTES - on->have);
    if (got <= 0) {
        return false;
    }
    on->have += (size_t)got;
    on->ahead[on->have] = 0;
    return true;
}

static void drop_ahead(struct connection *on, size_t bytes) {
    on->have -= bytes;
    memmove(on->ahead, on->ahead + bytes, on->have + 1);
}

// Reads until `mark` has come, and returns where what stands before it ends.
static char *read_until(struct connection *on, const char *mark) {
    for (;;) {
        char *found = memmem(on->ahead, on->have, mark, strlen(mark));
        if (found != NULL || !read_ahead(on)) {
            return found;
        }
    }
}

// Throws so many bytes of a body away.
static bool discard(struct connection *on, long long bytes) {
    size_t at_hand = (long long)on->have < bytes ? on->have : (size_t)bytes;
    keep_to_the_rate(at_hand);
    drop_ahead(on, at_hand);
    bytes -= (long long)at_hand;
    // Slowed, it reads small pieces, so that the rate is kept from the first tenth of a second on.
    long long most = bytes_per_second > 0 ? (long long)(bytes_per_second / 10) + 1 : DISCARD_BYTES;
    while (bytes > 0) {
        ssize_t got = throw_away(&on->wire, (size_t)(bytes < most ? bytes : most));
        if (got <= 0) {
            return false;
        }
        keep_to_the_rate((size_t)got);
        bytes -= got;
    }
    return true;
}

static bool discard_chunks(struct connection *on, long long *all) {
    for (;;) {
        char *end = read_until(on, "\r\n");
        if (end == NULL) {
            return false;
        }
        long long bytes = strtoll(on->ahead, NULL, 16);
        drop_ahead(on, (size_t)(end - on->ahead) + 2);
        if (!discard(on, bytes + 2)) { // the chunk and its line end; after the last one the empty line of the trailer
            return false;
        }
        if (bytes == 0) {
            return true;
        }
        *all += bytes;
    }
}

static bool read_request(struct connection *on, struct request *request) {
    char *end = read_until(on, "\r\n\r\n");
    if (end == NULL) {
        return false;
    }
    end[2] = 0;
    *request = (struct request){.decoded_bytes = -1};
    char *line_end = strstr(on->ahead, "\r\n");
    snprintf(request->line, sizeof request->line, "%.*s", (int)(line_end - on->ahead), on->ahead);
    for (char *header = line_end + 2; header < end; header = strstr(header, "\r\n") + 2) {
        if (strncasecmp(header, "content-length:", 15) == 0) {
            request->body_bytes = strtoll(header + 15, NULL, 10);
        } else if (strncasecmp(header, "x-amz-decoded-content-length:", 29) == 0) {
            request->decoded_bytes = strtoll(header + 29, NULL, 10);
        } else if (strncasecmp(header, "transfer-encoding:", 18) == 0) {
            request->is_chunked = true;
        } else if (strncasecmp(header, "expect:", 7) == 0) {
            request->expects_continue = true;
        }
    }
    drop_ahead(on, (size_t)(end - on->ahead) + 4);
    return true;
}

static void note_object(const struct request *request) {
    const char *line = request->line;
    bool is_complete = strstr(line, "uploadId=") != NULL;
    if (begins(line, "PUT ")) {
        long long bytes = request->decoded_bytes >= 0 ? request->decoded_bytes : request->body_bytes;
        note_bytes(line, bytes, is_complete, !is_complete);
    } else if (begins(line, "POST ")) {
        note_bytes(line, 0, is_complete, is_complete);
    } else if (begins(line, "DELETE ")) {
        note_bytes(line, 0, false, false);
    }
}

static bool give_answer(struct wire *wire, const struct request *request) {
    const struct rule *rule = rule_for(request->line);
    char text[2048], length[64] = ""; // 204 must not say a length
    long long bytes = (long long)strlen(rule->body);
    if (begins(request->line, "HEAD ") && target_of(request->line) == OBJECT) {
        bytes = known_bytes(request->line);
        rule = bytes < 0 ? &MISSING : rule;
    }
    if (!begins(rule->status, "204")) {
        snprintf(length, sizeof length, "Content-Length: %lld\r\n", bytes < 0 ? 0 : bytes);
    }
    int count = snprintf(text, sizeof text,
                         "HTTP/1.1 %s\r\nETag: " ETAG "\r\nx-amz-request-id: NULL\r\n"
                         "Last-Modified: Sun, 22 Nov 2026 00:00:00 GMT\r\nContent-Type: application/xml\r\n%s\r\n%s",
                         rule->status, length, rule->body);
    note_object(request);
    return give(wire, text, (size_t)count);
}

static void *serve(void *argument) {
    struct connection *on = argument;
    struct request request;
    send_without_delay(on->wire.socket);
    bool is_open = begin_wire(&on->wire);
    while (is_open && read_request(on, &request)) {
        if (request.expects_continue && on->have == 0) {
            is_open = give(&on->wire, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        }
        is_open = is_open && (request.is_chunked ? discard_chunks(on, &request.body_bytes) : discard(on, request.body_bytes));
        sleep_seconds(is_open ? delay_seconds : 0);
        is_open = is_open && give_answer(&on->wire, &request);
    }
    end_wire(&on->wire);
    free(on);
    return NULL;
}

static void accept_for_ever(int listener) {
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&detached, STACK_BYTES);
    for (;;) {
        int accepted = accept(listener, NULL, NULL);
        struct connection *on = accepted < 0 ? NULL : calloc(1, sizeof *on);
        pthread_t thread;
        if (on == NULL) {
            close(accepted);
            continue;
        }
        on->wire.socket = accepted;
        if (pthread_create(&thread, &detached, serve, on) != 0) {
            close(accepted);
            free(on);
        }
    }
}

static int listen_on(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, small = 64 * 1024;
    struct sockaddr_in address = loopback(port);
    socklen_t size = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bytes_per_second > 0) { // or megabytes would be taken at once, whatever the rate
        setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    }
    if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 1024) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
        fail("nulls3");
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int count, char **arguments) {
    const struct option options[] = {
        {"port", required_argument, NULL, 'p'},
        {"delay-ms", required_argument, NULL, 'd'},
        {"rate", required_argument, NULL, 'r'},
        {"tls", required_argument, NULL, 't'},
        {0},
    };
    int option, port = 0;
    while ((option = getopt_long(count, arguments, "", options, NULL)) != -1) {
        if (option == 'p') {
            port = (int)number_in(optarg);
        } else if (option == 'd') {
            delay_seconds = number_in(optarg) / 1000;
        } else if (option == 'r') {
            bytes_per_second = number_in(optarg);
        } else if (option == 't') {
            take_certificate(optarg);
        } else {
            return 2;
        }
    }
    signal(SIGPIPE, SIG_IGN); // OpenSSL sends without MSG_NOSIGNAL
    accept_for_ever(listen_on(port));
}
