package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Errors that callers tell apart.
var (
	// ErrNotFound says that the hub has no such model, revision or file.
	ErrNotFound = errors.New("the hub has no such model")
	// ErrAccess says that the hub wants a token, or that the token does not suffice.
	ErrAccess = errors.New("the hub refuses access")
	// ErrMismatch says that what came is not what the hub announced.
	ErrMismatch = errors.New("the file is not what the hub announced")
	// ErrSpace says that the disk is too small.
	ErrSpace = errors.New("not enough space on the disk")
	// ErrOffline says that HF_HUB_OFFLINE forbids the network.
	ErrOffline = errors.New("HF_HUB_OFFLINE is set")
)

// Client speaks with a hub. The zero value does not work: use New.
type Client struct {
	Endpoint string // without a slash at the end
	Token    string
	Cache    string // folder of the cache
	Offline  bool
	// Workers fetch parts at the same time; PartBytes is the size of a part.
	Workers   int
	PartBytes int64
	// Retries is how often a part is tried again; Pause is the first pause between tries,
	// which doubles.
	Retries int
	Pause   time.Duration
	// Stalled ends a try in which so long nothing comes.
	Stalled time.Duration

	http *http.Client
}

// New makes a client from the environment (getenv is os.Getenv): HF_ENDPOINT, HF_TOKEN,
// HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, as Hugging Face's tools read them.
func New(getenv func(string) string) (*Client, error) {
	cache, home, err := cacheFolder(getenv)
	if err != nil {
		return nil, err
	}
	c := &Client{Endpoint: strings.TrimRight(cmp.Or(getenv("HF_ENDPOINT"), "https://huggingface.co"), "/"), Token: token(getenv, home), Cache: cache,
		Offline: truthy(getenv("HF_HUB_OFFLINE")), Workers: 4, PartBytes: 32 << 20, Retries: 5, Pause: time.Second, Stalled: 60 * time.Second}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("HF_ENDPOINT is %q, expected an address such as https://hub.example.org", c.Endpoint)
	}
	c.http = &http.Client{CheckRedirect: c.redirect, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 20 * time.Second, ResponseHeaderTimeout: 60 * time.Second, MaxIdleConnsPerHost: 8, DisableCompression: true}}
	return c, nil
}

func truthy(s string) bool {
	return slices.Contains([]string{"1", "ON", "YES", "TRUE"}, strings.ToUpper(s))
}

// redirect follows to other hosts, but the token stays with the hub, and a safe
// connection is not left for an open one.
func (c *Client) redirect(req *http.Request, via []*http.Request) error {
	if len(via) > 10 {
		return errors.New("the hub redirects more than ten times")
	}
	from := via[0].URL
	if from.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("the hub redirects to %s://%s, which is not encrypted", req.URL.Scheme, req.URL.Host)
	}
	if req.URL.Host != from.Host || req.URL.Scheme != from.Scheme {
		req.Header.Del("Authorization")
	}
	return nil
}

// File is a file of a repository.
type File struct {
	Name string
	Size int64
	// Hash is the SHA-256 of the content for large files (64 digits), and of others Git's
	// SHA-1 of the blob (40 digits).
	Hash string
}

var (
	commitPattern = regexp.MustCompile(`^[0-9a-f]{40}$`)
	hashPattern   = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
)

// maxListing bounds a repository's listing in bytes and files.
const (
	maxListing = 32 << 20
	maxFiles   = 20_000
)

// List asks the hub for the commit that a revision stands for, and its files.
func (c *Client) List(ctx context.Context, n Name) (commit string, files []File, err error) {
	if c.Offline {
		return "", nil, fmt.Errorf("%w: unset it to ask for %s", ErrOffline, n.Repo)
	}
	raw, err := c.get(ctx, fmt.Sprintf("%s/api/models/%s/revision/%s?blobs=true", c.Endpoint, n.Repo, url.PathEscape(n.Revision)), n)
	if err != nil {
		return "", nil, err
	}
	var info struct {
		SHA      string
		Siblings []struct {
			RFilename, BlobID string
			Size              int64
			LFS               *struct {
				SHA256 string
				Size   int64
			}
		}
	}
	if err := json.Unmarshal(raw, &info); err != nil {
		return "", nil, fmt.Errorf("%s answers about %s with something that is no listing (%w); is HF_ENDPOINT right?", c.Endpoint, n.Repo, err)
	}
	if !commitPattern.MatchString(info.SHA) {
		return "", nil, fmt.Errorf("%s names the commit of %s as %q, which is none", c.Endpoint, n.Repo, clip(info.SHA))
	}
	if len(info.Siblings) > maxFiles {
		return "", nil, fmt.Errorf("%s has %d files, at most %d are read", n.Repo, len(info.Siblings), maxFiles)
	}
	for _, s := range info.Siblings {
		f := File{s.RFilename, s.Size, s.BlobID}
		if s.LFS != nil {
			f.Size, f.Hash = s.LFS.Size, s.LFS.SHA256
		}
		if !safeFile(f.Name) {
			return "", nil, fmt.Errorf("%s lists a file named %q, which would leave its folder: nothing was fetched", n.Repo, clip(f.Name))
		}
		if f.Size < 0 || !hashPattern.MatchString(f.Hash) {
			return "", nil, fmt.Errorf("%s lists %s with size %d and hash %q, which cannot be: nothing was fetched", n.Repo, f.Name, f.Size, clip(f.Hash))
		}
		files = append(files, f)
	}
	return info.SHA, files, nil
}

// get reads a small answer, again after a pause where the hub is busy.
func (c *Client) get(ctx context.Context, address string, n Name) ([]byte, error) {
	var raw []byte
	err := c.again(ctx, func() error {
		res, err := c.ask(ctx, address, "")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if err := c.status(res, n); err != nil {
			return err
		}
		raw, err = io.ReadAll(io.LimitReader(res.Body, maxListing+1))
		if err == nil && len(raw) > maxListing {
			return final{fmt.Errorf("%s answers with more than %d bytes", address, maxListing)}
		}
		return err
	})
	return raw, err
}

func (c *Client) ask(ctx context.Context, address, byteRange string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, final{err}
	}
	req.Header.Set("User-Agent", "sonde")
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if byteRange != "" {
		req.Header.Set("Range", byteRange)
	}
	return c.http.Do(req)
}

// status turns an answer's status into an error, final where asking again is in vain.
func (c *Client) status(res *http.Response, n Name) error {
	switch code := res.StatusCode; {
	case code == http.StatusOK || code == http.StatusPartialContent:
		return nil
	case code == http.StatusNotFound:
		return final{fmt.Errorf("%w: %s at %s (%s); mind capitals, and private models need HF_TOKEN", ErrNotFound, n, c.Endpoint, res.Status)}
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		what := "set HF_TOKEN to a token of yours"
		if c.Token != "" {
			what = "the token in use may not read it: accept its terms on the model's page, or use another token"
		}
		return final{fmt.Errorf("%w to %s (%s): %s", ErrAccess, n.Repo, res.Status, what)}
	case code == http.StatusTooManyRequests || code >= 500 || code == http.StatusRequestTimeout:
		return busy{fmt.Errorf("%s: %s", c.Endpoint, res.Status), retryAfter(res)}
	default:
		return final{fmt.Errorf("%s answers %s", c.Endpoint, res.Status)}
	}
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
