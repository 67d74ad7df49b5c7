package checkpoint

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sonde/compute"
	"sonde/nn"
)

var smallHF = HF{ConfigJSON: []byte(`{"a":1}`), TokenizerJSON: []byte(`{"t":1}`), TokenizerConfigJSON: []byte(`{"c":1}`), GenerationConfigJSON: []byte(`{"g":1}`)}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestSaveHFAndOpen(t *testing.T) {
	for _, shardBytes := range []int64{0, 60, 1} {
		m := newMaker(t)
		params := m.small()
		m.random(params, 5)
		want := m.contents(params)
		dir := filepath.Join(t.TempDir(), "new", "folder")
		must(t, SaveHF(dir, smallHF, params, m.be, shardBytes))
		m.random(params, 6)
		f, err := Open(dir)
		must(t, err)
		must(t, f.Load(params, m.be))
		if m.contents(params) != want {
			t.Errorf("shards of %d: what was loaded is not what was saved", shardBytes)
		}
		if got := fmt.Sprintf("%s%s%s%s", f.Config, f.Tokenizer, f.TokenizerConfig, f.GenerationConfig); got != `{"a":1}{"t":1}{"c":1}{"g":1}` {
			t.Errorf("small files: %s", got)
		}
		if len(f.Tensors()) != len(params) {
			t.Errorf("%d tensors, expected %d", len(f.Tensors()), len(params))
		}
		must(t, f.Close())
		for _, n := range names(t, dir) {
			if strings.HasSuffix(n, tmpSuffix) {
				t.Errorf("%s was left behind", n)
			}
		}
	}
}

// TestSaveHFReplaces saves over a model in another number of shards.
func TestSaveHFReplaces(t *testing.T) {
	m := newMaker(t)
	params := m.small()
	dir := t.TempDir()
	for i, shardBytes := range []int64{30, 0, 60, 0} {
		m.random(params, uint64(i))
		want := m.contents(params)
		must(t, SaveHF(dir, smallHF, params, m.be, shardBytes))
		f, err := Open(dir)
		must(t, err)
		must(t, f.Load(params, m.be))
		f.Close()
		if m.contents(params) != want {
			t.Errorf("save %d: the folder holds another model's weights", i)
		}
	}
	if got := names(t, dir); !slices.Equal(got, []string{"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}) {
		t.Errorf("the folder holds %v", got)
	}
}

func TestShardsKeepTheirSize(t *testing.T) {
	m := newMaker(t)
	var params []nn.Param
	for i := range 20 {
		params = append(params, m.param(fmt.Sprint(i), compute.F32, 25)) // 100 bytes
	}
	dir := t.TempDir()
	must(t, SaveHF(dir, smallHF, params, m.be, 350))
	var index struct {
		Metadata struct {
			TotalSize int `json:"total_size"`
		}
		WeightMap map[string]string `json:"weight_map"`
	}
	raw, err := os.ReadFile(filepath.Join(dir, indexName))
	must(t, err)
	must(t, json.Unmarshal(raw, &index))
	count := map[string]int{}
	for _, file := range index.WeightMap {
		count[file]++
	}
	if index.Metadata.TotalSize != 2000 || len(count) != 7 || count["model-00001-of-00007.safetensors"] != 3 || count["model-00007-of-00007.safetensors"] != 2 {
		t.Errorf("total %d, shards %v", index.Metadata.TotalSize, count)
	}
}

// TestSavingStaysOffTheHeap writes 256 MB and counts what Go's heap was asked for.
func TestSavingStaysOffTheHeap(t *testing.T) {
	m := newMaker(t)
	params := list(m.param("a", compute.F32, 4096, 8192), m.param("b", compute.BF16, 8192, 8192))
	fast := &quickBackend{Reference: m.be}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	must(t, writeTensors(io.Discard, outTensors(params, fast, make([]byte, pieceBytes)), nil))
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 3*pieceBytes {
		t.Errorf("saving 256 MB allocated %d bytes on the heap", got)
	}
	if fast.bytes != 256<<20 || fast.most > pieceBytes {
		t.Errorf("%d bytes were downloaded, in pieces of up to %d", fast.bytes, fast.most)
	}
}

// quickBackend counts downloads without doing them.
type quickBackend struct {
	*compute.Reference
	bytes, most int
}

func (q *quickBackend) Download(dst []byte, t compute.Tensor) {
	q.bytes += len(dst)
	q.most = max(q.most, len(dst))
}

func TestSaveRefusesBadParameters(t *testing.T) {
	m := newMaker(t)
	p := m.param("w", compute.F32, 2, 2)
	for _, bad := range [][]nn.Param{
		{p, p}, {{Name: "", T: p.T, Shape: p.Shape}}, {{Name: "\xff", T: p.T, Shape: p.Shape}},
		{{Name: "w", T: p.T, Shape: []int{2, 3}}}, {{Name: "__metadata__", T: p.T, Shape: p.Shape}},
		{{Name: "w", T: p.T, Shape: []int{-2, -2}}},
	} {
		dir := t.TempDir()
		if err := SaveHF(dir, smallHF, bad, m.be, 0); err == nil {
			t.Errorf("%v was saved", bad)
		}
		if err := SaveState(dir, 1, State{Weights: bad, Backend: m.be}); err == nil {
			t.Errorf("%v was saved as a state", bad)
		}
		if got := names(t, dir); len(got) != 0 {
			t.Errorf("%v was left behind", got)
		}
	}
}

func TestSharedWeights(t *testing.T) {
	m := newMaker(t)
	p := m.param("embed", compute.BF16, 4, 6)
	twin := p
	twin.Name, twin.Shared = "mtp.embed", true
	m.random(list(p), 1)
	want := m.contents(list(p))
	dir := t.TempDir()
	load := func() error {
		f, err := Open(dir)
		must(t, err)
		defer f.Close()
		return f.Load(list(p, twin), m.be)
	}
	must(t, SaveHF(dir, smallHF, list(p, twin), m.be, 0))
	must(t, load())
	must(t, SaveHF(dir, smallHF, list(p), m.be, 0)) // the second name left out
	must(t, load())
	if m.contents(list(p)) != want {
		t.Error("the weights changed")
	}
	other := m.param("mtp.embed", compute.BF16, 4, 6)
	m.random(list(other), 2)
	must(t, SaveHF(dir, smallHF, list(p, other), m.be, 0))
	if err := load(); !isFormatError(err) || !strings.Contains(err.Error(), `differs from "embed"`) {
		t.Errorf("two values for one memory: %v", err)
	}
}

// sharded writes a folder in shards and returns it with its index.
func sharded(t *testing.T, m maker) (dir string, params []nn.Param, index string) {
	dir = t.TempDir()
	params = list(m.param("a", compute.F32, 2), m.param("b", compute.F32, 3))
	must(t, SaveHF(dir, smallHF, params, m.be, 1))
	raw, err := os.ReadFile(filepath.Join(dir, indexName))
	must(t, err)
	return dir, params, string(raw)
}

func TestT5WeightMapLeavesTheFolder(t *testing.T) {
	m := newMaker(t)
	dir, _, index := sharded(t, m)
	outside := filepath.Join(t.TempDir(), "model-00001-of-00002.safetensors")
	raw, err := os.ReadFile(filepath.Join(dir, "model-00001-of-00002.safetensors"))
	must(t, err)
	must(t, os.WriteFile(outside, raw, 0o644))
	up, err := filepath.Rel(dir, outside)
	must(t, err)
	for _, name := range []string{up, filepath.ToSlash(up), outside, "../x.safetensors", "sub/x.safetensors", `..\x.safetensors`,
		`C:\x.safetensors`, ".", "..", "", "config.json", "/etc/passwd", "a\x00.safetensors"} {
		quoted, _ := json.Marshal(name)
		put(t, dir, indexName, []byte(strings.Replace(index, `"model-00001-of-00002.safetensors"`, string(quoted), 1)))
		f, err := Open(dir)
		if err == nil {
			f.Close()
		}
		if !isFormatError(err) {
			t.Errorf("weight_map to %q: %v", name, err)
		}
	}
}

func TestT5Links(t *testing.T) {
	m := newMaker(t)
	dir, params, _ := sharded(t, m)
	elsewhere := t.TempDir()
	for _, name := range []string{"model-00002-of-00002.safetensors", indexName, "config.json", "tokenizer.json"} {
		path := filepath.Join(dir, name)
		target := filepath.Join(elsewhere, name)
		must(t, os.Rename(path, target))
		if err := os.Symlink(target, path); err != nil {
			t.Skipf("this system lets the test make no links: %v", err)
		}
		if f, err := Open(dir); !isFormatError(err) || !strings.Contains(err.Error(), name+": is a link") {
			t.Errorf("%s is a link: %v, %v", name, f, err)
		}
		must(t, os.Remove(path))
		must(t, os.Rename(target, path))
	}
	f, err := Open(dir)
	must(t, err)
	must(t, f.Load(params, m.be))
	f.Close()
}

// TestCacheLayout reads Hugging Face's cache, whose files are links to blobs, and
// nothing that only pretends to be one.
func TestCacheLayout(t *testing.T) {
	m := newMaker(t)
	src, params, _ := sharded(t, m)
	root := t.TempDir()
	snapshot := filepath.Join(root, "snapshots", "abc")
	must(t, os.MkdirAll(snapshot, 0o755))
	must(t, os.MkdirAll(filepath.Join(root, "blobs"), 0o755))
	for i, name := range names(t, src) {
		raw, err := os.ReadFile(filepath.Join(src, name))
		must(t, err)
		blob := fmt.Sprintf("hash%d", i)
		put(t, filepath.Join(root, "blobs"), blob, raw)
		if err := os.Symlink("../../blobs/"+blob, filepath.Join(snapshot, name)); err != nil {
			t.Skipf("this system lets the test make no links: %v", err)
		}
	}
	f, err := Open(snapshot)
	must(t, err)
	must(t, f.Load(params, m.be))
	f.Close()
	config := filepath.Join(snapshot, "config.json")
	put(t, root, "secret", []byte(`{}`))
	must(t, os.Symlink("../secret", filepath.Join(root, "blobs", "chain")))
	for _, target := range []string{"../../secret", "../../blobs/../secret", "../../blobs/chain", "../../blobs/..", filepath.Join(root, "secret")} {
		must(t, os.Remove(config))
		must(t, os.Symlink(target, config))
		if f, err := Open(snapshot); !isFormatError(err) {
			t.Errorf("config.json links to %s: %v, %v", target, f, err)
		}
	}
}

func TestIndexTellsAnotherStory(t *testing.T) {
	m := newMaker(t)
	dir, _, index := sharded(t, m)
	first, second := "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
	for _, c := range []struct{ name, index, want string }{
		{"swapped", strings.NewReplacer(first, second, second, first).Replace(index), "the index places it in this file"},
		{"missing shard", strings.Replace(index, second, "model-9.safetensors", 1), "which does not exist"},
		{"unknown tensor", strings.Replace(index, `"weight_map": {`, `"weight_map": {"zz":"`+first+`",`, 1), `"zz"`},
		{"duplicate", strings.Replace(index, `"weight_map": {`, `"weight_map": {"a":"`+first+`",`, 1), "twice"},
		{"two maps", strings.Replace(index, `{`, `{"weight_map": {"a":"`+first+`"},`, 1), "twice"},
		{"number", strings.Replace(index, `"`+first+`"`, "1", 1), "string belongs"},
		{"no map", `{"metadata":{}}`, "no weight_map"},
		{"not JSON", index[:len(index)-3], "not JSON"},
		{"array", "[]", "object belongs"},
		{"left out", fmt.Sprintf(`{"weight_map":{"a":%q}}`, first), ""},
	} {
		put(t, dir, indexName, []byte(c.index))
		f, err := Open(dir)
		if c.name == "left out" { // then shard 2 is simply not part of the model
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			f.Close()
			continue
		}
		if !isFormatError(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, expected %q", c.name, err, c.want)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, first))
	must(t, err)
	put(t, dir, second, raw)
	put(t, dir, indexName, []byte(index))
	if _, err := Open(dir); !isFormatError(err) || !strings.Contains(err.Error(), "too") {
		t.Errorf("a tensor in two shards: %v", err)
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	m := newMaker(t)
	dir := t.TempDir()
	file := put(t, dir, "file", nil)
	empty := t.TempDir()
	noWeights := t.TempDir()
	put(t, noWeights, "config.json", []byte("{}"))
	run := t.TempDir()
	must(t, SaveState(run, 1, State{Backend: m.be}))
	for path, want := range map[string]string{
		filepath.Join(dir, "nowhere"): "no such file",
		file:                          "neither a folder",
		empty:                         "has no config.json",
		noWeights:                     "has neither model.safetensors nor",
		run:                           "go on training",
	} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), want) && runtime.GOOS != "windows" {
			t.Errorf("%s: got %v, expected %q", path, err, want)
		}
	}
}
