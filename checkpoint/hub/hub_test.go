package hub

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// fakeHub serves one repository and misbehaves as it is told.
type fakeHub struct {
	*httptest.Server
	files map[string][]byte
	// serve, where set, may answer a request for a file itself.
	serve  func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool
	list   func(w http.ResponseWriter) bool
	served atomic.Int64 // bytes of files
	asked  atomic.Int64 // requests for files
	tokens sync.Map     // Authorization headers that were seen, by host
}

func newHub(t *testing.T, files map[string][]byte) *fakeHub {
	h := &fakeHub{files: files}
	h.Server = httptest.NewServer(http.HandlerFunc(h.handle))
	t.Cleanup(h.Close)
	return h
}

func (h *fakeHub) handle(w http.ResponseWriter, r *http.Request) {
	h.tokens.Store(r.Host, r.Header.Get("Authorization"))
	if strings.HasPrefix(r.URL.Path, "/api/models/org/model/revision/") {
		if h.list == nil || !h.list(w) {
			json.NewEncoder(w).Encode(h.listing())
		}
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/org/model/resolve/"+commit+"/")
	body, there := h.files[name]
	if !ok || !there {
		http.NotFound(w, r)
		return
	}
	h.asked.Add(1)
	if h.serve != nil && h.serve(w, r, name, body) {
		return
	}
	http.ServeContent(&counted{w, &h.served}, r, "", time.Time{}, bytes.NewReader(body))
}

type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func (h *fakeHub) listing() map[string]any {
	var siblings []map[string]any
	for name, body := range h.files {
		s := map[string]any{"rfilename": name, "size": len(body), "blobId": gitHash(body)}
		if len(body) > 1000 {
			s["lfs"] = map[string]any{"sha256": sha(body), "size": len(body)}
		}
		siblings = append(siblings, s)
	}
	return map[string]any{"sha": commit, "siblings": siblings}
}

func sha(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

func gitHash(b []byte) string {
	s := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(b)), b...))
	return hex.EncodeToString(s[:])
}

func randomBytes(n int) []byte {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func modelFiles() map[string][]byte {
	return map[string][]byte{"config.json": []byte(`{"a":1}`), "empty.json": {}, "model.safetensors": randomBytes(700_001), "pytorch_model.bin": randomBytes(5000), "README.md": []byte("x"),
		"onnx/model.safetensors": randomBytes(2000)}
}

func client(t *testing.T, h *fakeHub) *Client {
	t.Helper()
	env := map[string]string{"HF_ENDPOINT": h.URL + "/", "HF_HOME": t.TempDir(), "HF_TOKEN": "secret"}
	c, err := New(func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	c.PartBytes, c.Pause, c.Stalled = 1<<16, time.Millisecond, 2*time.Second
	return c
}

func mustName(t *testing.T, s string) Name {
	t.Helper()
	n, err := ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// checkModel compares the snapshot's files with the hub's.
func checkModel(t *testing.T, h *fakeHub, s *Snapshot, names ...string) {
	t.Helper()
	if len(s.Files) != len(names) {
		t.Errorf("files %v, want %v", s.Files, names)
	}
	for _, name := range names {
		got, err := os.ReadFile(filepath.Join(s.Path, name))
		if err != nil || !bytes.Equal(got, h.files[name]) {
			t.Errorf("%s: %d bytes, %v, want %d", name, len(got), err, len(h.files[name]))
		}
	}
}

func TestPull(t *testing.T) {
	h := newHub(t, modelFiles())
	c := client(t, h)
	n := mustName(t, "org/model")
	if _, err := c.Find(n); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before: %v", err)
	}
	var last State
	s, err := c.Pull(t.Context(), n, func(st State) {
		if st.Done < 0 || st.Done > st.Total {
			t.Errorf("progress %+v", st)
		}
		last = st
	})
	if err != nil {
		t.Fatal(err)
	}
	checkModel(t, h, s, "config.json", "empty.json", "model.safetensors")
	if want := int64(700_001 + 7); last.Done != want || last.Total != want || last.Fresh != want {
		t.Errorf("at the end %+v, want %d", last, want)
	}
	blob := filepath.Join(c.Cache, "models--org--model", "blobs", sha(h.files["model.safetensors"]))
	if link, err := os.Readlink(filepath.Join(s.Path, "model.safetensors")); err == nil && filepath.Join(s.Path, link) != blob {
		t.Errorf("the snapshot links to %s, want %s", link, blob)
	}
	if left, _ := filepath.Glob(filepath.Join(c.Cache, "models--org--model", "blobs", "*.sonde*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	asked := h.asked.Load()
	if _, err := c.Pull(t.Context(), n, nil); err != nil || h.asked.Load() != asked {
		t.Errorf("pulled again: %v, %d requests", err, h.asked.Load()-asked)
	}
	if path, err := s.Model(); err != nil || path != s.Path {
		t.Errorf("model %s, %v", path, err)
	}
	all, err := c.All()
	if err != nil || len(all) != 1 || all[0].Name.String() != "org/model" || all[0].Commit != commit {
		t.Errorf("listed %v, %v", all, err)
	}
	if size, err := c.Remove(n); err != nil || size != 700_008 {
		t.Errorf("removed %d, %v", size, err)
	}
	if _, err := c.Find(n); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after removal: %v", err)
	}
}

// TestMisbehaviour runs a pull against servers that fail in all ways, once or for good.
func TestMisbehaviour(t *testing.T) {
	big := "model.safetensors"
	var count atomic.Int64
	for _, x := range []struct {
		name  string
		serve func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool
		want  error  // nil: the pull succeeds
		text  string // in the error
	}{
		{"drops every third connection half-way", func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
			if name != big || count.Add(1)%3 != 0 {
				return false
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %s/%d", strings.TrimPrefix(r.Header.Get("Range"), "bytes="), len(body)))
			var a, b int
			fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &a, &b)
			w.Header().Set("Content-Length", fmt.Sprint(b-a+1))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(body[a : a+(b-a)/2])
			panic(http.ErrAbortHandler)
		}, nil, ""},
		{"is busy", func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
			if count.Add(1)%2 == 0 {
				return false
			}
			w.Header().Set("Retry-After", "0")
			w.WriteHeader([]int{429, 500, 503}[count.Load()%3])
			return true
		}, nil, ""},
		{"is always busy", func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}, errors.ErrUnsupported, "429"},
		{"knows no ranges", func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
			w.Write(body)
			return true
		}, nil, ""},
		{"knows no ranges and drops", func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			if name == big && count.Add(1)%3 != 0 {
				w.Write(body[:len(body)/2])
				panic(http.ErrAbortHandler)
			}
			w.Write(body)
			return true
		}, nil, ""},
		{"sends other ranges", func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
			r.Header.Set("Range", "bytes=5-10")
			return false
		}, ErrMismatch, "asked for"},
		{"has other bytes once", func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
			if name != big || count.Add(1) > 1 {
				return false
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(append([]byte("x"), body[1:]...)))
			return true
		}, nil, ""},
		{"has other bytes", func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(append([]byte("x"), body[min(1, len(body)):]...)[:len(body)]))
			return true
		}, ErrMismatch, "announced is"},
		{"stalls once", func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
			if name != big || count.Add(1) > 1 {
				return false
			}
			w.Header().Set("Content-Length", "65536")
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %s/%d", strings.TrimPrefix(r.Header.Get("Range"), "bytes="), len(body)))
			w.WriteHeader(http.StatusPartialContent)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}, nil, ""},
		{"has lost the file", func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
			http.NotFound(w, r)
			return true
		}, ErrNotFound, "capitals"},
		{"wants a token", func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
			w.WriteHeader(http.StatusForbidden)
			return true
		}, ErrAccess, "terms"},
		{"redirects in a ring", func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
			return true
		}, errors.ErrUnsupported, "redirects"},
	} {
		t.Run(x.name, func(t *testing.T) {
			count.Store(0)
			h := newHub(t, modelFiles())
			h.serve = x.serve
			c := client(t, h)
			s, err := c.Pull(t.Context(), mustName(t, "org/model"), nil)
			if x.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				checkModel(t, h, s, "config.json", "empty.json", big)
				return
			}
			if err == nil || x.want != errors.ErrUnsupported && !errors.Is(err, x.want) || !strings.Contains(err.Error(), x.text) {
				t.Errorf("%v, want %v with %q", err, x.want, x.text)
			}
			if _, err := c.Find(mustName(t, "org/model")); err == nil {
				t.Error("a model that did not come counts as being there")
			}
		})
	}
}

// TestResume cuts pulls off at random moments: what came is not fetched again.
func TestResume(t *testing.T) {
	h := newHub(t, map[string][]byte{"config.json": []byte("{}"), "model.safetensors": randomBytes(3_000_000)})
	h.serve = func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
		time.Sleep(2 * time.Millisecond)
		return false
	}
	c := client(t, h)
	c.Workers = 2
	n := mustName(t, "org/model")
	for i := 0; ; i++ {
		ctx, cancel := context.WithCancel(t.Context())
		began := int64(-1)
		s, err := c.Pull(ctx, n, func(st State) {
			if began < 0 {
				began = st.Done
			}
			if st.Doing == "fetching" && st.Fresh > 600_000 {
				cancel()
			}
		})
		cancel()
		if err == nil {
			if i < 2 {
				t.Errorf("only %d pulls were cut off", i)
			}
			checkModel(t, h, s, "config.json", "model.safetensors")
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if i > 20 {
			t.Fatal("it does not end")
		}
	}
	if most := int64(3_000_000 + 10*2*(1<<16)); h.served.Load() > most {
		t.Errorf("%d bytes were fetched for a file of 3,000,000", h.served.Load())
	}
}

func TestT6HostileHub(t *testing.T) {
	evil := func(change func(l map[string]any)) func(w http.ResponseWriter) bool {
		return func(w http.ResponseWriter) bool {
			l := map[string]any{"sha": commit, "siblings": []any{map[string]any{"rfilename": "config.json", "size": 2, "blobId": gitHash([]byte("{}"))},
				map[string]any{"rfilename": "model.safetensors", "size": 2, "blobId": gitHash([]byte("{}"))}}}
			change(l)
			json.NewEncoder(w).Encode(l)
			return true
		}
	}
	file := func(l map[string]any) map[string]any { return l["siblings"].([]any)[0].(map[string]any) }
	for name, change := range map[string]func(l map[string]any){
		"a parent's file":      func(l map[string]any) { file(l)["rfilename"] = "../../../evil.json" },
		"an absolute file":     func(l map[string]any) { file(l)["rfilename"] = "/tmp/evil.json" },
		"a drive":              func(l map[string]any) { file(l)["rfilename"] = "C:\\evil.json" },
		"a control character":  func(l map[string]any) { file(l)["rfilename"] = "a\x1b[2J.json" },
		"an empty part":        func(l map[string]any) { file(l)["rfilename"] = "a//b.json" },
		"a hash as a path":     func(l map[string]any) { file(l)["blobId"] = "../../../../evil" },
		"an empty hash":        func(l map[string]any) { file(l)["blobId"] = "" },
		"a negative size":      func(l map[string]any) { file(l)["size"] = -1 },
		"a commit as a path":   func(l map[string]any) { l["sha"] = "../../evil" },
		"more than the disk":   func(l map[string]any) { file(l)["size"] = int64(1) << 60 },
		"sizes that overflow":  func(l map[string]any) { file(l)["size"] = int64(1<<63 - 1) },
		"no listing":           func(l map[string]any) { l["siblings"] = "x" },
		"a LFS hash as a path": func(l map[string]any) { file(l)["lfs"] = map[string]any{"sha256": "sha256:../x", "size": 1} },
	} {
		h := newHub(t, map[string][]byte{"config.json": []byte("{}")})
		h.list = evil(change)
		c := client(t, h)
		if _, err := c.Pull(t.Context(), mustName(t, "org/model"), nil); err == nil {
			t.Errorf("%s: no error", name)
		}
		if h.asked.Load() > 0 {
			t.Errorf("%s: files were asked for", name)
		}
	}
}

// TestTokenStaysAtHome: a redirect to another host must not carry the token along.
func TestTokenStaysAtHome(t *testing.T) {
	h := newHub(t, modelFiles())
	var leaked atomic.Value
	leaked.Store("")
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header.Get("Authorization"); a != "" {
			leaked.Store(a)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(h.files[strings.TrimPrefix(r.URL.Path, "/")]))
	}))
	defer other.Close()
	h.serve = func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
		http.Redirect(w, r, other.URL+"/"+name, http.StatusFound)
		return true
	}
	c := client(t, h)
	s, err := c.Pull(t.Context(), mustName(t, "org/model"), nil)
	if err != nil {
		t.Fatal(err)
	}
	checkModel(t, h, s, "config.json", "empty.json", "model.safetensors")
	if leaked.Load() != "" {
		t.Errorf("another host was given %q", leaked.Load())
	}
	if got, _ := h.tokens.Load(strings.TrimPrefix(h.URL, "http://")); got != "Bearer secret" {
		t.Errorf("the hub itself was given %q", got)
	}
}

func TestChoose(t *testing.T) {
	gguf := map[string][]byte{"m-Q4_K_M-00001-of-00002.gguf": randomBytes(10), "m-Q4_K_M-00002-of-00002.gguf": randomBytes(11), "m-Q8_0.gguf": randomBytes(30),
		"mmproj-F16.gguf": randomBytes(3), "README.md": nil}
	bf := map[string][]byte{"x/m.BF16.gguf": randomBytes(10), "m.IQ4_XS.gguf": randomBytes(5)}
	for _, x := range []struct {
		name  string
		files map[string][]byte
		want  string // files, or a part of the error
	}{
		{"org/model", gguf, "m-Q4_K_M-00001-of-00002.gguf m-Q4_K_M-00002-of-00002.gguf"},
		{"org/model:q8_0", gguf, "m-Q8_0.gguf"},
		{"org/model:m-Q4_K_M-00002-of-00002.gguf", gguf, "m-Q4_K_M-00001-of-00002.gguf m-Q4_K_M-00002-of-00002.gguf"},
		{"org/model:README.md", gguf, "README.md"},
		{"org/model:Q2_K", gguf, "! org/model:Q4_K_M (21 bytes), org/model:Q8_0 (30 bytes)"},
		{"org/model", bf, "! choose one: org/model:IQ4_XS (5 bytes), org/model:BF16 (10 bytes)"},
		{"org/model:bf16", bf, "x/m.BF16.gguf"},
		{"org/model", map[string][]byte{"pytorch_model.bin": nil}, "! pickled"},
		{"org/model", map[string][]byte{"a.txt": nil}, "! neither"},
	} {
		var files []File
		for name, body := range x.files {
			files = append(files, File{Name: name, Size: int64(len(body))})
		}
		picked, err := choose(mustName(t, x.name), files)
		var names []string
		for _, f := range picked {
			names = append(names, f.Name)
		}
		got := strings.Join(names, " ")
		if want, bad := strings.CutPrefix(x.want, "! "); bad != (err != nil) || bad && !strings.Contains(err.Error(), want) || !bad && got != want {
			t.Errorf("%s: %q, %v, want %q", x.name, got, err, x.want)
		}
	}
}

func TestNames(t *testing.T) {
	for s, want := range map[string]Name{
		"a/b":             {"a/b", "main", ""},
		"a/b:Q4_K_M":      {"a/b", "main", "Q4_K_M"},
		"a/b@v1.0:x.gguf": {"a/b", "v1.0", "x.gguf"},
	} {
		n, err := ParseName(s)
		if err != nil || n != want || n.String() != s {
			t.Errorf("%s: %+v, %v", s, n, err)
		}
	}
	for _, s := range []string{"", "a", "a/b/c", "../b", "a/..", "a/b:", "a/b@", "a/b:../x", "a/b@../x", "a b/c", "a/b:x\x00", "/a/b", "a/b@x:/etc/passwd", "-a/b"} {
		if n, err := ParseName(s); err == nil {
			t.Errorf("%q became %+v", s, n)
		}
	}
}

func TestOffline(t *testing.T) {
	h := newHub(t, modelFiles())
	c := client(t, h)
	c.Offline = true
	if _, err := c.Pull(t.Context(), mustName(t, "org/model"), nil); !errors.Is(err, ErrOffline) || h.asked.Load() > 0 {
		t.Errorf("%v", err)
	}
}
