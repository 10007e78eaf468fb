// The bytes of one connection of a null S3: plain, or by TLS if it was given a certificate.
//
// TLS is built in with -DWITH_TLS and -lssl -lcrypto (OpenSSL). It costs: every body is decrypted, and then thrown away.

#pragma once
#include "loopback.h"
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

struct wire {
    int socket;
#ifdef WITH_TLS
    SSL *tls; // NULL: plain
#endif
};

#ifdef WITH_TLS

enum { RECORD_BYTES = 16 * 1024 };

static SSL_CTX *identity = NULL; // NULL: plain connections

// `path`: a PEM file with the private key and the certificate chain.
static void take_certificate(const char *path) {
    identity = SSL_CTX_new(TLS_server_method());
    if (identity == NULL || SSL_CTX_use_certificate_chain_file(identity, path) != 1 ||
        SSL_CTX_use_PrivateKey_file(identity, path, SSL_FILETYPE_PEM) != 1 ||
        // One cipher for all, so that a client's preference is no part of a comparison.
        SSL_CTX_set_min_proto_version(identity, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(identity, "TLS_AES_128_GCM_SHA256") != 1) {
        fprintf(stderr, "no key and certificate can be read from %s\n", path);
        exit(2);
    }
    SSL_CTX_set_read_ahead(identity, 1); // otherwise each record is read twice: its head, then the rest
}

// The handshake; false if it failed, for example because the client does not trust the certificate.
static bool begin_wire(struct wire *wire) {
    if (identity == NULL) {
        return true;
    }
    wire->tls = SSL_new(identity);
    return wire->tls != NULL && SSL_set_fd(wire->tls, wire->socket) == 1 && SSL_accept(wire->tls) == 1;
}

// Like recv(2).
static ssize_t receive(struct wire *wire, char *into, size_t most) {
    return wire->tls == NULL ? recv(wire->socket, into, most, 0) : SSL_read(wire->tls, into, (int)most);
}

// Throws at most so many bytes away. Plain bytes are dropped by the kernel, without a copy (MSG_TRUNC).
static ssize_t throw_away(struct wire *wire, size_t most) {
    char thrown[RECORD_BYTES];
    return wire->tls == NULL ? recv(wire->socket, NULL, most, MSG_TRUNC)
                             : SSL_read(wire->tls, thrown, (int)(most < sizeof thrown ? most : sizeof thrown));
}

static bool give(struct wire *wire, const char *bytes, size_t count) {
    return wire->tls == NULL ? send_all(wire->socket, bytes, count, 0)
                             : SSL_write(wire->tls, bytes, (int)count) == (int)count;
}

static void end_wire(struct wire *wire) {
    SSL_free(wire->tls);
    close(wire->socket);
}

#else

static void take_certificate(const char *path) {
    fprintf(stderr, "built without TLS, which %s is for\n", path);
    exit(2);
}

static bool begin_wire(struct wire *wire) {
    return wire->socket >= 0;
}

static ssize_t receive(struct wire *wire, char *into, size_t most) {
    return recv(wire->socket, into, most, 0);
}

// MSG_TRUNC: the kernel drops the bytes without copying them to us.
static ssize_t throw_away(struct wire *wire, size_t most) {
    return recv(wire->socket, NULL, most, MSG_TRUNC);
}

static bool give(struct wire *wire, const char *bytes, size_t count) {
    return send_all(wire->socket, bytes, count, 0);
}

static void end_wire(struct wire *wire) {
    close(wire->socket);
}

#endif
