#define _GNU_SOURCE
#include "http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The value of a header, or NULL; `headers` starts behind the request line. */
static const char *header(const char *headers, const char *end, const char *name) {
    size_t length = strlen(name);
    for (const char *line = headers; line < end;) {
        if ((size_t)(end - line) > length && strncasecmp(line, name, length) == 0 &&
            line[length] == ':') {
            const char *value = line + length + 1;
            while (*value == ' ') value++;
            return value;
        }
        const char *next = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!next) break;
        line = next + 2;
    }
    return NULL;
}

static bool starts(const char *text, const char *end, const char *with) {
    size_t length = strlen(with);
    return text && (size_t)(end - text) >= length && strncasecmp(text, with, length) == 0;
}

/* The length of a body in chunks, 0 while it is incomplete, -1 if it is none. */
static long chunked_length(const char *body, const char *end) {
    const char *at = body;
    for (;;) {
        const char *line = memmem(at, (size_t)(end - at), "\r\n", 2);
        if (!line) return 0;
        char *digits_end;
        long size = strtol(at, &digits_end, 16);
        if (digits_end == at || size < 0) return -1;
        at = line + 2;
        if (size > end - at - 2) return 0;
        at += size + 2;
        if (size == 0) return at - body;
    }
}

static bool asks_for_stream(const char *body, size_t n) {
    static const char key[] = "\"stream\"";
    const char *at = memmem(body, n, key, sizeof key - 1), *end = body + n;
    if (!at) return false;
    for (at += sizeof key - 1; at < end && (*at == ' ' || *at == ':');) at++;
    return starts(at, end, "true");
}

static enum route route_of(const char *line, const char *end) {
    if (starts(line, end, "POST /v1/chat/completions ")) return ROUTE_CHAT;
    if (starts(line, end, "POST /v1/completions ")) return ROUTE_TEXT;
    if (starts(line, end, "GET /v1/models")) return ROUTE_MODELS;
    if (starts(line, end, "GET /health")) return ROUTE_HEALTH;
    return ROUTE_UNKNOWN;
}

enum parsed parse_request(const char *bytes, size_t n, struct request *out, size_t *used) {
    const char *head_end = memmem(bytes, n, "\r\n\r\n", 4);
    if (!head_end) return INCOMPLETE;
    const char *body = head_end + 4, *end = bytes + n;
    const char *headers = (const char *)memmem(bytes, n, "\r\n", 2) + 2;
    const char *declared = header(headers, head_end, "content-length");
    bool chunked = starts(header(headers, head_end, "transfer-encoding"), head_end, "chunked");
    long length = declared ? strtol(declared, NULL, 10) : 0;
    bool whole = length <= end - body;
    if (chunked) {
        length = chunked_length(body, end);
        whole = length > 0;
    }
    if (length < 0) return MALFORMED;
    if (!whole) {
        bool held = starts(header(headers, head_end, "expect"), head_end, "100-continue");
        return held && body == end ? WANTS_CONTINUE : INCOMPLETE;
    }
    out->route = route_of(bytes, head_end);
    out->close = starts(header(headers, head_end, "connection"), head_end, "close");
    out->body_bytes = (size_t)length;
    out->stream = asks_for_stream(body, (size_t)length);
    *used = (size_t)(body - bytes) + (size_t)length;
    return PARSED;
}
