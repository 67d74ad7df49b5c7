package serve

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
)

// recovered answers 500 for a handler that panics, and logs where.
func recovered(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tw := &trackingWriter{ResponseWriter: w}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			log.Error("a handler failed", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			if tw.wrote {
				panic(http.ErrAbortHandler) // cut the connection: half an answer must not look whole
			}
			writeError(w, fail(http.StatusInternalServerError, "server_error", "", "", "the server failed on this request; its log says why"))
		}()
		next.ServeHTTP(tw, r)
	})
}

// trackingWriter knows whether an answer has begun.
type trackingWriter struct {
	http.ResponseWriter
	wrote bool
}

func (w *trackingWriter) WriteHeader(status int) {
	w.wrote = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *trackingWriter) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController through.
func (w *trackingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// sameSite refuses what a foreign web page sends through its visitor's browser: a
// Host that is not this machine's on a loopback connection (DNS rebinding), and an
// Origin that is not the server's own.
func sameSite(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if local != nil && isLoopback(local.String()) && !isLoopback(r.Host) {
			writeError(w, fail(http.StatusForbidden, "invalid_request_error", "", "forbidden_host",
				"this server listens on a loopback address and answers to localhost, 127.0.0.1 and [::1] alone, not to the host that the request names"))
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" {
			if u, err := url.Parse(origin); err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
				writeError(w, fail(http.StatusForbidden, "invalid_request_error", "", "forbidden_origin",
					"this server answers no requests from pages of other origins"))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// isLoopback reports whether host, with or without a port, is this machine's own.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// keyed asks for "Authorization: Bearer KEY" where a key is set. Hashes are
// compared, in constant time, so that neither content nor length shows.
func keyed(key string, next http.Handler) http.Handler {
	if key == "" {
		return next
	}
	want := sha256.Sum256([]byte(key))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		sum := sha256.Sum256([]byte(got))
		if subtle.ConstantTimeCompare(sum[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeError(w, fail(http.StatusUnauthorized, "invalid_request_error", "", "invalid_api_key",
				"this server asks for a key: send the header \"Authorization: Bearer KEY\" with the key it was started with"))
			return
		}
		next.ServeHTTP(w, r)
	})
}
