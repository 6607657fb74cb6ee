/* As much of HTTP/1.1 as a load client speaks. */
#ifndef HTTP_H
#define HTTP_H

#include <stdbool.h>
#include <stddef.h>

enum route { ROUTE_CHAT, ROUTE_TEXT, ROUTE_MODELS, ROUTE_HEALTH, ROUTE_UNKNOWN };

struct request {
    enum route route;
    bool stream;          /* the body asks for a stream */
    bool close;           /* the client wants the connection closed */
    size_t body_bytes;
};

enum parsed { PARSED, INCOMPLETE, WANTS_CONTINUE, MALFORMED };

/* Look for one whole request at the start of `bytes`; its length goes to `used`.
 * WANTS_CONTINUE: the headers are here, ask for the body, which the client holds back. */
enum parsed parse_request(const char *bytes, size_t n, struct request *out, size_t *used);

#endif
