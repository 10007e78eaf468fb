// A load generator: uploads bodies of one size over kept connections, and prints what came of it as one line of JSON.
//
//     load --port N --path PATH --size BYTES --at-once N [--requests N] [--seconds S] [--limit S] [--form 1]
//          [--header "Name: value"]...
//
// Each of `--at-once` threads has a connection of its own and sends one request after the other: PUT to PATH and a
// number, or with --form a POST of a multipart form to PATH whose file is named by the number. It begins no more of them
// after `--requests` or `--seconds`; what has no answer `--limit` seconds after the start is given up and counted as
// `unfinished`. Exits with 1 if an answer was not 2xx, and shows the first of these.
//
// It promises to cost next to nothing: bodies are sent from a file in memory (sendfile), which copies nothing.

#include "loopback.h"
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

enum { ANSWER_BYTES = 64 * 1024, HEAD_BYTES = 8 * 1024, BODY_BYTES = 1024 * 1024, SHOWN_BYTES = 2048 };

#define BOUNDARY "the-boundary-of-the-load"
#define FORM_END "\r\n--" BOUNDARY "--\r\n"

static struct {
    int port;
    const char *path;
    long long size;
    int at_once;
    long long requests;
    double seconds, limit;
    bool is_form;
    char headers[HEAD_BYTES / 2];
} asked = {.path = "/", .at_once = 1, .requests = INT64_MAX, .seconds = 86400, .limit = 86400};

struct worker {
    pthread_t thread;
    int socket; // -1: none
    double *took;
    size_t finished, room;
    double last_answer;
    long long refused, lost, unfinished;
    char answer[ANSWER_BYTES];
};

static int body; // a file in memory
static double began;
static atomic_llong next_number = 0;
static atomic_int bad = 0;
static char first_bad[SHOWN_BYTES + 1];

static double left_seconds(void) {
    return began + asked.limit - now_seconds();
}

// Bytes that do not repeat soon and that no compression makes smaller; a longer body repeats them.
static void make_body(void) {
    static uint32_t words[BODY_BYTES / 4];
    uint32_t state = 2463534242U;
    for (size_t at = 0; at < BODY_BYTES / 4; at++) { // xorshift
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        words[at] = state;
    }
    body = memfd_create("body", MFD_CLOEXEC);
    if (body < 0 || write(body, words, BODY_BYTES) != BODY_BYTES) {
        fail("load: the body");
    }
}

static bool send_body(int socket) {
    for (long long sent = 0; sent < asked.size;) {
        off_t from = sent % BODY_BYTES;
        long long most = BODY_BYTES - from, left = asked.size - sent;
        ssize_t taken = sendfile(socket, body, &from, (size_t)(left < most ? left : most));
        if (taken <= 0 || left_seconds() <= 0) {
            return false;
        }
        sent += taken;
    }
    return true;
}

static bool send_request(int socket, long long number) {
    char head[HEAD_BYTES], form[512] = "";
    if (asked.is_form) {
        snprintf(form, sizeof form,
                 "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"%lld.bin\"\r\n"
                 "Content-Type: application/octet-stream\r\n\r\n",
                 number);
    }
    char target[32] = "";
    snprintf(target, asked.is_form ? 1 : sizeof target, "%lld", number);
    long long length = asked.size + (asked.is_form ? (long long)(strlen(form) + strlen(FORM_END)) : 0);
    int bytes = snprintf(head, sizeof head,
                         "%s %s%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%sContent-Type: %s\r\nContent-Length: %lld\r\n\r\n%s",
                         asked.is_form ? "POST" : "PUT", asked.path, target, asked.port, asked.headers,
                         asked.is_form ? "multipart/form-data; boundary=" BOUNDARY : "application/octet-stream", length,
                         form);
    // MSG_MORE: head and body of a small upload leave together.
    return send_all(socket, head, (size_t)bytes, asked.size > 0 || asked.is_form ? MSG_MORE : 0) &&
           send_body(socket) && (!asked.is_form || send_all(socket, FORM_END, strlen(FORM_END), 0));
}

// Reads one answer whole. Returns its status, or 0 when there was none; the connection is closed if it is to be.
static int read_answer(struct worker *worker) {
    size_t have = 0;
    char *end = NULL;
    while (end == NULL) {
        ssize_t got = recv(worker->socket, worker->answer + have, ANSWER_BYTES - 1 - have, 0);
        if (got <= 0) {
            return 0;
        }
        have += (size_t)got;
        worker->answer[have] = 0;
        end = strstr(worker->answer, "\r\n\r\n");
    }
    *end = 0; // what is looked for below is to be found in the head only
    const char *length = strcasestr(worker->answer, "\r\ncontent-length:");
    bool is_last = strcasestr(worker->answer, "\r\nconnection: close") != NULL;
    bool has_body = length != NULL || strcasestr(worker->answer, "\r\ntransfer-encoding:") == NULL;
    size_t whole = (size_t)(end - worker->answer) + 4 + (length != NULL ? strtoul(length + 17, NULL, 10) : 0);
    *end = '\r';
    while (have < whole && have < ANSWER_BYTES - 1) {
        ssize_t got = recv(worker->socket, worker->answer + have, ANSWER_BYTES - 1 - have, 0);
        if (got <= 0) {
            return 0;
        }
        have += (size_t)got;
    }
    worker->answer[have] = 0;
    if (is_last || !has_body || have != whole) {
        close(worker->socket);
        worker->socket = -1;
    }
    return atoi(worker->answer + strcspn(worker->answer, " "));
}

// A connection, kept or new, on which nothing waits longer than the limit is away.
static void connect_for(struct worker *worker, double seconds) {
    struct timeval most = {.tv_sec = (time_t)seconds, .tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
    struct sockaddr_in address = loopback(asked.port);
    if (worker->socket < 0) {
        worker->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        send_without_delay(worker->socket);
        if (connect(worker->socket, (struct sockaddr *)&address, sizeof address) != 0) {
            fail("load: connect");
        }
    }
    setsockopt(worker->socket, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    setsockopt(worker->socket, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
}

static void note_bad(const char *what) {
    if (atomic_fetch_add(&bad, 1) == 0) {
        snprintf(first_bad, sizeof first_bad, "%.*s", SHOWN_BYTES, what);
    }
}

static void note_finished(struct worker *worker, double seconds) {
    if (worker->finished == worker->room) {
        worker->room = worker->room * 2 + 1024;
        worker->took = realloc(worker->took, worker->room * sizeof *worker->took);
        if (worker->took == NULL) {
            fail("load: memory");
        }
    }
    worker->took[worker->finished++] = seconds;
    worker->last_answer = now_seconds();
}

static void upload_one(struct worker *worker, long long number) {
    double start = now_seconds();
    connect_for(worker, asked.limit - (start - began));
    // A server that refuses early may stop reading: its answer counts all the same.
    bool is_sent = send_request(worker->socket, number);
    int status = left_seconds() > 0 ? read_answer(worker) : 0;
    if (status >= 200 && status <= 299 && is_sent) {
        note_finished(worker, now_seconds() - start);
        return;
    }
    if (left_seconds() <= 0) { // also who was answered since, which may be because others were given up
        worker->unfinished++;
    } else if (status != 0) {
        worker->refused++;
        note_bad(worker->answer);
    } else {
        worker->lost++;
        note_bad("the connection ended without an answer");
    }
    close(worker->socket);
    worker->socket = -1;
}

static void *work(void *argument) {
    struct worker *worker = argument;
    while (left_seconds() > 0.001 && now_seconds() - began < asked.seconds) {
        long long number = next_number++;
        if (number >= asked.requests) {
            break;
        }
        upload_one(worker, number);
    }
    return NULL;
}

static int by_value(const void *one, const void *other) {
    double difference = *(const double *)one - *(const double *)other;
    return (difference > 0) - (difference < 0);
}

static void print_text(const char *text) {
    for (; *text != 0; text++) {
        unsigned char letter = (unsigned char)*text;
        printf(letter < 32 || letter > 126 || letter == '"' || letter == '\\' ? "\\u%04x" : "%c", letter);
    }
}

// Prints the line of JSON; returns how many answers were not 2xx.
static long long report(struct worker *workers) {
    size_t finished = 0;
    double last = began;
    long long refused = 0, lost = 0, unfinished = 0;
    for (int at = 0; at < asked.at_once; at++) {
        finished += workers[at].finished;
        refused += workers[at].refused;
        lost += workers[at].lost;
        unfinished += workers[at].unfinished;
        last = workers[at].last_answer > last ? workers[at].last_answer : last;
    }
    double *took = calloc(finished + 1, sizeof *took), *to = took, seconds = last - began;
    for (int at = 0; took != NULL && at < asked.at_once; at++) {
        to = mempcpy(to, workers[at].took, workers[at].finished * sizeof *took);
    }
    qsort(took, finished, sizeof *took, by_value);
    printf("{\"operations\": %zu, \"seconds\": %.6f, \"mb_per_second\": %.3f, ", finished, seconds,
           seconds > 0 ? (double)finished * (double)asked.size / seconds / 1e6 : 0);
    if (finished > 0) {
        printf("\"p50\": %.6f, \"p99\": %.6f, \"max\": %.6f, ", took[finished / 2], took[finished * 99 / 100],
               took[finished - 1]);
    }
    printf("\"refused\": %lld, \"lost\": %lld, \"unfinished\": %lld, \"first_bad\": \"", refused, lost, unfinished);
    print_text(first_bad);
    printf("\"}\n");
    return refused + lost;
}

static void take_options(int count, char **arguments) {
    const struct option options[] = {
        {"port", required_argument, NULL, 'p'},    {"path", required_argument, NULL, 't'},
        {"size", required_argument, NULL, 'b'},    {"at-once", required_argument, NULL, 'c'},
        {"requests", required_argument, NULL, 'n'}, {"seconds", required_argument, NULL, 's'},
        {"limit", required_argument, NULL, 'l'},   {"form", no_argument, NULL, 'f'},
        {"header", required_argument, NULL, 'h'},  {0},
    };
    int option;
    while ((option = getopt_long(count, arguments, "", options, NULL)) != -1) {
        switch (option) {
        case 'p': asked.port = (int)number_in(optarg); break;
        case 't': asked.path = optarg; break;
        case 'b': asked.size = (long long)number_in(optarg); break;
        case 'c': asked.at_once = (int)number_in(optarg); break;
        case 'n': asked.requests = (long long)number_in(optarg); break;
        case 's': asked.seconds = number_in(optarg); break;
        case 'l': asked.limit = number_in(optarg); break;
        case 'f': asked.is_form = true; break;
        case 'h':
            strncat(asked.headers, optarg, sizeof asked.headers - strlen(asked.headers) - 3);
            strcat(asked.headers, "\r\n");
            break;
        default: exit(2);
        }
    }
}

int main(int count, char **arguments) {
    take_options(count, arguments);
    signal(SIGPIPE, SIG_IGN); // sendfile has no MSG_NOSIGNAL
    make_body();
    struct worker *workers = calloc((size_t)asked.at_once, sizeof *workers);
    if (workers == NULL) {
        fail("load: memory");
    }
    began = now_seconds();
    for (int at = 0; at < asked.at_once; at++) {
        workers[at].socket = -1;
        if (pthread_create(&workers[at].thread, NULL, work, workers + at) != 0) {
            fail("load: thread");
        }
    }
    for (int at = 0; at < asked.at_once; at++) {
        pthread_join(workers[at].thread, NULL);
    }
    return report(workers) > 0;
}
