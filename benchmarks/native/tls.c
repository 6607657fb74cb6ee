#include "tls.h"

#ifdef WITH_TLS

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

struct tls {
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
};

void *tls_context(const char *certificate, const char *key) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context || SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        return NULL;
    }
    return context;
}

struct tls *tls_open(void *context) {
    struct tls *tls = malloc(sizeof *tls);
    tls->ssl = SSL_new(context);
    tls->in = BIO_new(BIO_s_mem());
    tls->out = BIO_new(BIO_s_mem());
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    SSL_set_accept_state(tls->ssl);
    return tls;
}

void tls_close(struct tls *tls) {
    SSL_free(tls->ssl);
    free(tls);
}

static bool is_fatal(struct tls *tls, int result) {
    int why = SSL_get_error(tls->ssl, result);
    return why == SSL_ERROR_SSL || why == SSL_ERROR_SYSCALL;
}

bool tls_receive(struct tls *tls, const char *bytes, size_t n) {
    ERR_clear_error();
    if (BIO_write(tls->in, bytes, (int)n) != (int)n) return false;
    if (SSL_is_init_finished(tls->ssl)) return true;
    int result = SSL_do_handshake(tls->ssl);
    return result == 1 || !is_fatal(tls, result);
}

size_t tls_plain(struct tls *tls, char *into, size_t size) {
    int n = SSL_read(tls->ssl, into, (int)size);
    return n > 0 ? (size_t)n : 0;
}

bool tls_send(struct tls *tls, const char *plain, size_t n) {
    return SSL_write(tls->ssl, plain, (int)n) == (int)n;
}

size_t tls_pending(struct tls *tls, char *into, size_t size) {
    int n = BIO_read(tls->out, into, (int)size);
    return n > 0 ? (size_t)n : 0;
}

#else

void *tls_context(const char *certificate, const char *key) {
    (void)certificate, (void)key;
    return NULL;
}
struct tls *tls_open(void *context) { return context; }
void tls_close(struct tls *tls) { (void)tls; }
bool tls_receive(struct tls *tls, const char *bytes, size_t n) { return (void)tls, (void)bytes, !n; }
size_t tls_plain(struct tls *tls, char *into, size_t size) { return (void)tls, (void)into, size * 0; }
bool tls_send(struct tls *tls, const char *plain, size_t n) { return (void)tls, (void)plain, !n; }
size_t tls_pending(struct tls *tls, char *into, size_t size) { return (void)tls, (void)into, size * 0; }

#endif
