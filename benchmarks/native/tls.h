/* TLS between two memory buffers, so that the socket is read and stamped the same way with and
 * without it.  Without OpenSSL's headers the server is built without -DWITH_TLS and has none. */
#ifndef TLS_H
#define TLS_H

#include <stdbool.h>
#include <stddef.h>

struct tls;

/* NULL, with the reason on stderr, when the certificate or the key cannot be used. */
void *tls_context(const char *certificate, const char *key);
struct tls *tls_open(void *context);
void tls_close(struct tls *tls);

/* What came from the socket goes in; false when the peer broke the protocol. */
bool tls_receive(struct tls *tls, const char *bytes, size_t n);
/* Plain text that has arrived: its length, 0 when there is none yet. */
size_t tls_plain(struct tls *tls, char *into, size_t size);
bool tls_send(struct tls *tls, const char *plain, size_t n);
/* Bytes that have to go to the socket: their length, 0 when there are none. */
size_t tls_pending(struct tls *tls, char *into, size_t size);

#endif
