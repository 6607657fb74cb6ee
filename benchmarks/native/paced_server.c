/* A server of OpenAI's streams that sends each chunk at a known moment and says so inside it.
 *
 *   paced_server [--port 0] [--ttft-ms 100] [--interval-ms 20] [--chunks 250] [--close]
 *                [--log FILE] [--certificate PEM --key PEM]
 *
 * One thread.  Chunk k of a stream is due at arrival + ttft + k * interval, where arrival is the
 * kernel's stamp of the request's last bytes: neither this server's queue of arrivals nor its own
 * lateness can pass for the client's error.  Each chunk is one write and holds the clock read
 * just before that write: " s<ns>", 19 digits; the first holds " a<arrival>s<ns>".
 *
 * stdout gets {"ready": {"port": N}} and, once stdin has closed, {"totals": {...}}.  --log then
 * holds, per request in order of arrival, int64s: arrival, chunks sent, and each chunk's stamp. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "http.h"
#include "stamps.h"
#include "tls.h"

enum {
    BACKLOG = 4096,
    MAX_CONNECTIONS = 1 << 16,
    EVENTS = 64,
    SENDS_PER_PASS = 256, /* between two looks at the sockets, when sends are due without a pause */
    READ_BYTES = 1 << 16,
    CHUNK_BYTES = 512
};

struct stream { /* one answer; kept after its end, for the log */
    int64_t arrival_ns;
    int64_t *sent_ns;
    int n_sent;
};

struct buffer {
    char *bytes;
    size_t n, size;
};

struct connection {
    int fd;
    struct tls *tls;
    struct buffer in, out; /* out: what the socket would not take yet */
    struct stream *stream; /* the answer in progress, or NULL */
    size_t id;             /* of that answer */
    bool close_after, continued;
    char chunk[CHUNK_BYTES]; /* the next chunk, all but its stamp */
    size_t chunk_bytes, stamp_at;
    bool text;
};

struct due { /* an entry of the heap of sends */
    int64_t at_ns;
    struct connection *connection;
};

static struct {
    int64_t ttft_ns, interval_ns;
    int chunks, port;
    bool close;
    const char *log, *certificate, *key;
} options = {100 * NS_PER_MS, 20 * NS_PER_MS, 250, 0, false, NULL, NULL, NULL};

static int poller, timer;
static void *tls_settings;
static struct due heap[MAX_CONNECTIONS];
static size_t heap_n;
static struct stream **streams;
static size_t n_streams, streams_size;
static int64_t armed_ns;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void append(struct buffer *buffer, const char *bytes, size_t n) {
    if (buffer->n + n + 1 > buffer->size) {
        buffer->size = 2 * (buffer->n + n + 1);
        buffer->bytes = realloc(buffer->bytes, buffer->size);
        if (!buffer->bytes) die("realloc");
    }
    memcpy(buffer->bytes + buffer->n, bytes, n);
    buffer->n += n;
    buffer->bytes[buffer->n] = 0;
}

static void drop_front(struct buffer *buffer, size_t n) {
    buffer->n -= n;
    memmove(buffer->bytes, buffer->bytes + n, buffer->n + 1);
}

/* --- the schedule: a binary heap by due time ---------------------------------------------- */

static void sift_down(size_t i) {
    struct due moving = heap[i];
    for (size_t child; (child = 2 * i + 1) < heap_n; i = child) {
        if (child + 1 < heap_n && heap[child + 1].at_ns < heap[child].at_ns) child++;
        if (heap[child].at_ns >= moving.at_ns) break;
        heap[i] = heap[child];
    }
    heap[i] = moving;
}

static void schedule(struct connection *connection, int64_t at_ns) {
    size_t i = heap_n++;
    for (; i && heap[(i - 1) / 2].at_ns > at_ns; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = (struct due){at_ns, connection};
}

static void unschedule(struct connection *connection) {
    for (size_t i = 0; i < heap_n; i++)
        if (heap[i].connection == connection) {
            heap[i] = heap[--heap_n];
            /* Rare (a client that went away), so the whole heap is simply made anew. */
            for (size_t k = heap_n / 2; k-- > 0;) sift_down(k);
            return;
        }
}

static void arm_timer(void) {
    if (!heap_n || heap[0].at_ns == armed_ns) return;
    armed_ns = heap[0].at_ns;
    struct itimerspec at = {.it_value = {armed_ns / NS_PER_S, armed_ns % NS_PER_S}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

/* --- writing ------------------------------------------------------------------------------ */

static void watch(struct connection *connection, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(poller, operation, connection->fd, &event) < 0) die("epoll_ctl");
}

static void to_socket(struct connection *connection, const char *bytes, size_t n) {
    if (!connection->out.n) {
        ssize_t sent = send(connection->fd, bytes, n, MSG_NOSIGNAL);
        if (sent < 0) sent = errno == EAGAIN ? 0 : (ssize_t)n; /* a broken one is seen by its read */
        if ((size_t)sent == n) return;
        bytes += sent;
        n -= (size_t)sent;
        watch(connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    append(&connection->out, bytes, n);
}

static void flush_tls(struct connection *connection) {
    char wire[READ_BYTES];
    size_t n;
    while ((n = tls_pending(connection->tls, wire, sizeof wire))) to_socket(connection, wire, n);
}

static void transmit(struct connection *connection, const char *bytes, size_t n) {
    if (!connection->tls) {
        to_socket(connection, bytes, n);
        return;
    }
    tls_send(connection->tls, bytes, n);
    flush_tls(connection);
}

static void on_writable(struct connection *connection) {
    ssize_t sent = send(connection->fd, connection->out.bytes, connection->out.n, MSG_NOSIGNAL);
    if (sent > 0) drop_front(&connection->out, (size_t)sent);
    if (!connection->out.n) watch(connection, EPOLL_CTL_MOD, EPOLLIN);
}

static void reply(struct connection *connection, const char *status, const char *body) {
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                     "%s\r\n%s",
                     status, strlen(body), connection->close_after ? "Connection: close\r\n" : "",
                     body);
    transmit(connection, text, (size_t)n);
}

/* --- streams ------------------------------------------------------------------------------ */

static void write_digits(char *at, int64_t value) {
    for (int i = STAMP_DIGITS - 1; i >= 0; i--, value /= 10) at[i] = (char)('0' + value % 10);
}

/* Lay out a chunk with its HTTP framing and leave only the stamp's digits open. */
static void lay_out_chunk(struct connection *connection, int64_t arrival_ns, bool first) {
    static const char open_digits[] = "0000000000000000000";
    char arrival[STAMP_DIGITS + 2] = "", event[CHUNK_BYTES - 16];
    if (first) {
        arrival[0] = 'a';
        write_digits(arrival + 1, arrival_ns);
        arrival[STAMP_DIGITS + 1] = 0;
    }
    const char *object = connection->text ? "text_completion" : "chat.completion.chunk";
    const char *before = connection->text ? "\"text\":\"" : "\"delta\":{\"content\":\"";
    int n = snprintf(event, sizeof event,
                     "data: {\"id\":\"r%zu\",\"object\":\"%s\",\"created\":1700000000,"
                     "\"model\":\"paced\",\"choices\":[{\"index\":0,%s %ss%s\"%s,"
                     "\"finish_reason\":null}]}\n\n",
                     connection->id, object, before, arrival, open_digits,
                     connection->text ? "" : "}");
    int framed = snprintf(connection->chunk, CHUNK_BYTES, "%x\r\n%s\r\n", (unsigned)n, event);
    connection->chunk_bytes = (size_t)framed;
    connection->stamp_at = (size_t)(strstr(connection->chunk, open_digits) - connection->chunk);
}

static void start_stream(struct connection *connection, int64_t arrival_ns, bool text) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                               "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n";
    static const char keep[] = "\r\n", close[] = "Connection: close\r\n\r\n";
    char bytes[sizeof head + sizeof close];
    strcpy(stpcpy(bytes, head), connection->close_after ? close : keep);
    transmit(connection, bytes, strlen(bytes));
    if (n_streams == streams_size) {
        streams_size = streams_size ? 2 * streams_size : 1024;
        streams = realloc(streams, streams_size * sizeof *streams);
    }
    struct stream *stream = calloc(1, sizeof *stream);
    stream->arrival_ns = arrival_ns;
    stream->sent_ns = calloc((size_t)options.chunks, sizeof *stream->sent_ns);
    connection->id = n_streams;
    streams[n_streams++] = stream;
    connection->stream = stream;
    connection->text = text;
    lay_out_chunk(connection, arrival_ns, true);
    schedule(connection, arrival_ns + options.ttft_ns);
}

static void answer_waiting(struct connection *connection, int64_t arrival_ns);
static void drop(struct connection *connection);

static void end_stream(struct connection *connection) {
    char events[1024], framed[1100];
    const char *object = connection->text ? "text_completion" : "chat.completion.chunk";
    int n = snprintf(
        events, sizeof events,
        "data: {\"id\":\"r%zu\",\"object\":\"%s\",\"created\":1700000000,\"model\":\"paced\","
        "\"choices\":[{\"index\":0,%s,\"finish_reason\":\"stop\"}]}\n\n"
        "data: {\"id\":\"r%zu\",\"object\":\"%s\",\"created\":1700000000,\"model\":\"paced\","
        "\"choices\":[],\"usage\":{\"prompt_tokens\":16,\"completion_tokens\":%d,"
        "\"total_tokens\":%d}}\n\ndata: [DONE]\n\n",
        connection->id, object, connection->text ? "\"text\":\"\"" : "\"delta\":{}",
        connection->id, object, options.chunks, options.chunks + 16);
    int length = snprintf(framed, sizeof framed, "%x\r\n%s\r\n0\r\n\r\n", (unsigned)n, events);
    transmit(connection, framed, (size_t)length);
    connection->stream = NULL;
    if (connection->close_after)
        shutdown(connection->fd, SHUT_WR); /* the client's own close then drops it */
    else
        answer_waiting(connection, now_ns());
}

static void send_chunk(struct connection *connection) {
    struct stream *stream = connection->stream;
    int64_t sent_ns = now_ns();
    write_digits(connection->chunk + connection->stamp_at, sent_ns);
    transmit(connection, connection->chunk, connection->chunk_bytes);
    stream->sent_ns[stream->n_sent++] = sent_ns;
    if (stream->n_sent == 1) lay_out_chunk(connection, 0, false);
}

/* Send what is due, the longest overdue first; true when there is more. */
static bool send_due(void) {
    int64_t now = now_ns();
    for (int sends = 0; heap_n && heap[0].at_ns <= now; sends++) {
        if (sends == SENDS_PER_PASS) return true;
        struct connection *connection = heap[0].connection;
        send_chunk(connection);
        if (connection->stream->n_sent < options.chunks) {
            heap[0].at_ns += options.interval_ns;
            sift_down(0);
        } else {
            heap[0] = heap[--heap_n];
            if (heap_n) sift_down(0);
            end_stream(connection);
        }
        if (!heap_n || heap[0].at_ns > now) now = now_ns();
    }
    return false;
}

/* --- reading ------------------------------------------------------------------------------ */

static void answer(struct connection *connection, const struct request *request, int64_t at_ns) {
    static const char models[] =
        "{\"object\":\"list\",\"data\":[{\"id\":\"paced\",\"object\":\"model\",\"created\":1,"
        "\"owned_by\":\"benchmark\",\"root\":\"paced\",\"max_model_len\":131072}]}";
    static const char whole[] =
        "{\"id\":\"once\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"paced\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"ok\"},"
        "\"text\":\"ok\",\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":16,"
        "\"completion_tokens\":1,\"total_tokens\":17}}";
    connection->close_after = options.close || request->close;
    bool asks = request->route == ROUTE_CHAT || request->route == ROUTE_TEXT;
    if (asks && request->stream)
        start_stream(connection, at_ns, request->route == ROUTE_TEXT);
    else if (asks)
        reply(connection, "200 OK", whole);
    else if (request->route == ROUTE_MODELS)
        reply(connection, "200 OK", models);
    else if (request->route == ROUTE_HEALTH)
        reply(connection, "200 OK", "{\"status\":\"ok\"}");
    else
        reply(connection, "404 Not Found", "{\"error\":{\"message\":\"no such path\"}}");
    if (connection->close_after && !connection->stream) shutdown(connection->fd, SHUT_WR);
}

/* Answer the requests that are whole, up to the first one whose answer is a stream. */
static void answer_waiting(struct connection *connection, int64_t arrival_ns) {
    while (connection->in.n && !connection->stream) {
        struct request request;
        size_t used;
        enum parsed is = parse_request(connection->in.bytes, connection->in.n, &request, &used);
        if (is == WANTS_CONTINUE && !connection->continued) {
            connection->continued = true;
            transmit(connection, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        }
        if (is == MALFORMED) {
            reply(connection, "400 Bad Request", "{}");
            shutdown(connection->fd, SHUT_RDWR);
        }
        if (is != PARSED) return;
        connection->continued = false;
        drop_front(&connection->in, used);
        answer(connection, &request, arrival_ns);
    }
}

static void on_readable(struct connection *connection) {
    static char bytes[READ_BYTES];
    int64_t arrival_ns;
    ssize_t n = stamped_read(connection->fd, bytes, sizeof bytes, &arrival_ns);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        drop(connection);
        return;
    }
    if (!connection->tls) {
        append(&connection->in, bytes, (size_t)n);
    } else {
        bool sound = tls_receive(connection->tls, bytes, (size_t)n);
        size_t plain;
        while (sound && (plain = tls_plain(connection->tls, bytes, sizeof bytes)))
            append(&connection->in, bytes, plain);
        flush_tls(connection);
        if (!sound) {
            drop(connection);
            return;
        }
    }
    answer_waiting(connection, arrival_ns);
}

static void drop(struct connection *connection) {
    if (connection->stream) unschedule(connection);
    if (connection->tls) tls_close(connection->tls);
    close(connection->fd);
    free(connection->in.bytes);
    free(connection->out.bytes);
    free(connection);
}

static void accept_some(int listener) {
    for (int i = 0; i < EVENTS; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *connection = calloc(1, sizeof *connection);
        connection->fd = fd;
        connection->tls = tls_settings ? tls_open(tls_settings) : NULL;
        watch(connection, EPOLL_CTL_ADD, EPOLLIN);
    }
}

/* --- the program -------------------------------------------------------------------------- */

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ask_for_stamps(fd);
    if (bind(fd, (struct sockaddr *)&address, size) < 0) die("bind");
    if (listen(fd, BACKLOG) < 0) die("listen");
    getsockname(fd, (struct sockaddr *)&address, &size);
    printf("{\"ready\": {\"port\": %d}}\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static bool stdin_closed(void) {
    char ignored[256];
    return read(STDIN_FILENO, ignored, sizeof ignored) <= 0;
}

/* The descriptors that are no connections are told from them by what their events point to. */
static void serve(int listener) {
    static int listening, timing, input;
    int fds[] = {listener, timer, STDIN_FILENO};
    void *tags[] = {&listening, &timing, &input};
    for (int i = 0; i < 3; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = tags[i]};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fds[i], &event) < 0) die("epoll_ctl");
    }
    for (bool busy = false;;) {
        struct epoll_event events[EVENTS];
        if (!busy) arm_timer();
        int n = epoll_wait(poller, events, EVENTS, busy ? 0 : -1);
        for (int i = 0; i < n; i++) {
            void *what = events[i].data.ptr;
            uint64_t expirations;
            if (what == &listening) {
                accept_some(listener);
            } else if (what == &timing) {
                if (read(timer, &expirations, sizeof expirations) > 0) armed_ns = 0;
            } else if (what == &input) {
                if (stdin_closed()) return;
            } else if (events[i].events & ~(uint32_t)EPOLLOUT) {
                on_readable(what); /* which may drop it: what is to be written waits a turn */
            } else {
                on_writable(what);
            }
        }
        busy = send_due();
    }
}

static void write_log(void) {
    FILE *file = options.log ? fopen(options.log, "wb") : NULL;
    if (!file) return;
    for (size_t i = 0; i < n_streams; i++) {
        int64_t head[] = {streams[i]->arrival_ns, streams[i]->n_sent};
        fwrite(head, sizeof *head, 2, file);
        fwrite(streams[i]->sent_ns, sizeof(int64_t), (size_t)streams[i]->n_sent, file);
    }
    fclose(file);
}

static void print_totals(void) {
    size_t n = 0, i = 0;
    for (size_t s = 0; s < n_streams; s++) n += (size_t)streams[s]->n_sent;
    int64_t *late_ns = malloc((n + 1) * sizeof *late_ns);
    for (size_t s = 0; s < n_streams; s++)
        for (int k = 0; k < streams[s]->n_sent; k++)
            late_ns[i++] = streams[s]->sent_ns[k] -
                           (streams[s]->arrival_ns + options.ttft_ns + k * options.interval_ns);
    qsort(late_ns, n, sizeof *late_ns, compare_ns);
    printf("{\"totals\": {\"n_requests\": %zu, \"n_chunks_sent\": %zu, \"late_p50_ms\": %.3f, "
           "\"late_p99_ms\": %.3f, \"late_max_ms\": %.3f, \"cpu_s\": %.3f}}\n",
           n_streams, n, quantile_ms(late_ns, n, 0.5), quantile_ms(late_ns, n, 0.99),
           quantile_ms(late_ns, n, 1.0), cpu_s());
    free(late_ns);
}

static int64_t ms(const char *text) {
    return (int64_t)(atof(text) * NS_PER_MS);
}

static void read_options(int argc, char **argv) {
    static const struct option names[] = {
        {"port", 1, 0, 'p'},  {"ttft-ms", 1, 0, 't'}, {"interval-ms", 1, 0, 'i'},
        {"chunks", 1, 0, 'c'}, {"close", 0, 0, 'x'},   {"log", 1, 0, 'l'},
        {"certificate", 1, 0, 'C'}, {"key", 1, 0, 'K'}, {0, 0, 0, 0}};
    for (int name; (name = getopt_long(argc, argv, "", names, NULL)) != -1;) switch (name) {
            case 'p': options.port = atoi(optarg); break;
            case 't': options.ttft_ns = ms(optarg); break;
            case 'i': options.interval_ns = ms(optarg); break;
            case 'c': options.chunks = atoi(optarg); break;
            case 'x': options.close = true; break;
            case 'l': options.log = optarg; break;
            case 'C': options.certificate = optarg; break;
            case 'K': options.key = optarg; break;
            default: exit(2);
        }
    if (options.chunks < 1 || options.interval_ns < 1) exit(2);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    raise_file_limit();
    prctl(PR_SET_TIMERSLACK, 1UL);
    if (options.certificate && !(tls_settings = tls_context(options.certificate, options.key))) {
        fprintf(stderr, "paced_server: no TLS with %s\n", options.certificate);
        return 1;
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    serve(listen_on(options.port));
    write_log();
    print_totals();
    return 0;
}
