/* What a client of the paced server costs at least: one thread, epoll, kernel stamps, no journal.
 *
 *   floor_client --port N [--streams 32] [--rounds 1] [--chunks 250] [--log FILE]
 *
 * It opens its connections, sends one request on each (or so many in turn), finds the server's
 * stamp in each chunk as it comes and keeps it beside the kernel's.  --log gets three int64s per
 * chunk at the end: when its request was sent, the server's stamp, the kernel's.  The last line of
 * stdout is JSON. */
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
#include <unistd.h>

#include "stamps.h"

enum { READ_BYTES = 1 << 16, REST_BYTES = 1024, EVENTS = 256 };

struct stream {
    int fd, rounds_left;
    bool connected;
    int64_t sent_ns;
    size_t n_rest; /* an event cut in two by a read: its first part, for the next read */
    char rest[REST_BYTES];
};

struct seen {
    int64_t sent_ns, server_ns, at_ns;
};

static int port, n_streams = 32, rounds = 1, chunks = 250;
static const char *log_path;
static int poller, n_open;
static struct seen *seen;
static int64_t *ttft_error_ns, first_ns, last_ns;
static size_t n_chunks, n_first, n_expected;
static double cpu_at_start_s;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void send_request(struct stream *stream) {
    static const char body[] =
        "{\"model\":\"paced\",\"stream\":true,\"messages\":[{\"role\":\"user\","
        "\"content\":\"What does a client cost at least?\"}],\"max_tokens\":250}";
    char request[512];
    int n = snprintf(request, sizeof request,
                     "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                     sizeof body - 1, body);
    stream->sent_ns = now_ns();
    if (!first_ns) {
        first_ns = stream->sent_ns;
        cpu_at_start_s = cpu_s();
    }
    if (send(stream->fd, request, (size_t)n, MSG_NOSIGNAL) != n) die("send");
    stream->rounds_left--;
}

static void open_stream(struct stream *stream) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    stream->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (stream->fd < 0) die("socket");
    setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ask_for_stamps(stream->fd);
    if (connect(stream->fd, (struct sockaddr *)&address, sizeof address) < 0 &&
        errno != EINPROGRESS)
        die("connect");
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = stream};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, stream->fd, &event) < 0) die("epoll_ctl");
    stream->rounds_left = rounds;
    n_open++;
}

static void on_connected(struct stream *stream) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = stream};
    epoll_ctl(poller, EPOLL_CTL_MOD, stream->fd, &event);
    stream->connected = true;
    send_request(stream);
}

static void close_stream(struct stream *stream) {
    close(stream->fd);
    n_open--;
}

/* One event of the stream; false when it was the last one of the answer. */
static bool take_event(struct stream *stream, const char *event, size_t n, int64_t at_ns) {
    static const char content[] = "\"content\":\" ";
    const char *found = memmem(event, n, content, sizeof content - 1);
    if (!found) return memmem(event, n, "[DONE]", 6) == NULL;
    found += sizeof content - 1;
    int64_t arrival_ns = *found == 'a' ? strtoll(found + 1, (char **)&found, 10) : 0;
    int64_t server_ns = strtoll(found + 1, NULL, 10);
    if (n_chunks < n_expected)
        seen[n_chunks++] = (struct seen){stream->sent_ns, server_ns, at_ns};
    if (arrival_ns && n_first < n_expected)
        ttft_error_ns[n_first++] = (at_ns - stream->sent_ns) - (server_ns - arrival_ns);
    last_ns = at_ns;
    return true;
}

static void on_readable(struct stream *stream) {
    static char bytes[REST_BYTES + READ_BYTES + 1];
    int64_t at_ns;
    memcpy(bytes, stream->rest, stream->n_rest);
    ssize_t n = stamped_read(stream->fd, bytes + stream->n_rest, READ_BYTES, &at_ns);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        close_stream(stream);
        return;
    }
    char *at = bytes, *end = bytes + stream->n_rest + n, *event_end;
    *end = 0;
    bool more = true;
    while ((event_end = memmem(at, (size_t)(end - at), "\n\n", 2))) {
        more = take_event(stream, at, (size_t)(event_end - at), at_ns);
        at = event_end + 2;
    }
    stream->n_rest = more && end - at < REST_BYTES ? (size_t)(end - at) : 0;
    memcpy(stream->rest, at, stream->n_rest);
    if (more) return;
    if (stream->rounds_left)
        send_request(stream);
    else
        close_stream(stream);
}

static void write_log(void) {
    FILE *file = fopen(log_path, "wb");
    if (!file || fwrite(seen, sizeof *seen, n_chunks, file) != n_chunks) die(log_path);
    fclose(file);
}

static void report(double cpu) {
    double wall_s = (double)(last_ns - first_ns) / NS_PER_S;
    int64_t *error_ns = calloc(n_chunks + 1, sizeof *error_ns);
    for (size_t i = 0; i < n_chunks; i++) error_ns[i] = seen[i].at_ns - seen[i].server_ns;
    qsort(error_ns, n_chunks, sizeof *error_ns, compare_ns);
    qsort(ttft_error_ns, n_first, sizeof *ttft_error_ns, compare_ns);
    printf("{\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"ttft_p99_ms\": %.4f, \"us_per_chunk\": %.3f, "
           "\"chunks\": %zu, \"lost\": %zd, \"wall_s\": %.4f}\n",
           quantile_ms(error_ns, n_chunks, 0.5), quantile_ms(error_ns, n_chunks, 0.99),
           quantile_ms(ttft_error_ns, n_first, 0.99), 1e6 * cpu / (double)n_chunks, n_chunks,
           (ssize_t)(n_expected - n_chunks), wall_s);
    free(error_ns);
}

static void read_options(int argc, char **argv) {
    static const struct option names[] = {{"port", 1, 0, 'p'},   {"streams", 1, 0, 's'},
                                          {"rounds", 1, 0, 'r'}, {"chunks", 1, 0, 'c'},
                                          {"log", 1, 0, 'l'},    {0, 0, 0, 0}};
    for (int name; (name = getopt_long(argc, argv, "", names, NULL)) != -1;) switch (name) {
            case 'p': port = atoi(optarg); break;
            case 's': n_streams = atoi(optarg); break;
            case 'r': rounds = atoi(optarg); break;
            case 'c': chunks = atoi(optarg); break;
            case 'l': log_path = optarg; break;
            default: exit(2);
        }
    if (!port || n_streams < 1 || rounds < 1 || chunks < 1) exit(2);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    raise_file_limit();
    n_expected = (size_t)n_streams * (size_t)rounds * (size_t)chunks;
    seen = calloc(n_expected, sizeof *seen);
    ttft_error_ns = calloc(n_expected, sizeof *ttft_error_ns);
    struct stream *streams = calloc((size_t)n_streams, sizeof *streams);
    if (!seen || !ttft_error_ns || !streams) die("calloc");
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < n_streams; i++) open_stream(&streams[i]);
    while (n_open) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct stream *stream = events[i].data.ptr;
            if (stream->connected)
                on_readable(stream);
            else
                on_connected(stream);
        }
    }
    report(cpu_s() - cpu_at_start_s);
    if (log_path) write_log();
    free(streams);
    return 0;
}
