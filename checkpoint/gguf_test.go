package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sonde/text"
)

// le appends numbers, strings as they are.
func le(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch x := p.(type) {
		case string:
			b = append(b, x...)
		case []byte:
			b = append(b, x...)
		default:
			var err error
			if b, err = binary.Append(b, binary.LittleEndian, x); err != nil {
				panic(err)
			}
		}
	}
	return b
}

func ggufStr(s string) []byte { return le(uint64(len(s)), s) }

// handMade is a GGUF file put together by hand: what is wrong in it is meant.
type handMade struct {
	magic          string
	version        uint32
	tensors, pairs uint64
	meta, infos    []byte
	data           int
}

// add makes the file's next pair.
func (h *handMade) add(key string, kind uint32, value ...any) *handMade {
	h.pairs++
	h.meta = append(h.meta, le(ggufStr(key), kind, le(value...))...)
	return h
}

// tensor makes the file's next tensor; dims are the innermost first.
func (h *handMade) tensor(name string, format uint32, begin uint64, dims ...uint64) *handMade {
	h.tensors++
	h.infos = append(h.infos, le(ggufStr(name), uint32(len(dims)), dims, format, begin)...)
	return h
}

func (h *handMade) bytes() []byte {
	magic, version := "GGUF", uint32(3)
	if h.magic != "" {
		magic = h.magic
	}
	if h.version != 0 {
		version = h.version
	}
	b := le(magic, version, h.tensors, h.pairs, h.meta, h.infos)
	b = append(b, make([]byte, aligned(int64(len(b)))-int64(len(b)))...)
	return append(b, make([]byte, h.data)...)
}

// good is a small file without fault.
func good() *handMade {
	h := &handMade{data: 64}
	h.add("general.architecture", 8, ggufStr("llama"))
	return h.tensor("token_embd.weight", 0, 0, 4, 2).tensor("output_norm.weight", 0, 32, 4)
}

func openGGUFBytes(raw []byte) (*Source, error) {
	head, err := readGGUF("x.gguf", bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return nil, err
	}
	s := &Source{Path: "x.gguf", Kind: KindGGUF}
	file := &File{path: "x.gguf", f: bytes.NewReader(raw), size: int64(len(raw)), data: head.data, tensors: head.tensors}
	return s, s.takeGGUF([]openPart{{file, head}})
}

// refusedGGUF is a hostile file that must end in a *FormatError that says what.
type refusedGGUF struct {
	name string
	file *handMade
	want string
}

func checkGGUFRefused(t *testing.T, cases []refusedGGUF) {
	t.Helper()
	if _, err := readGGUF("x.gguf", bytes.NewReader(good().bytes()), int64(len(good().bytes()))); err != nil {
		t.Fatalf("the file that all others differ from is refused: %v", err)
	}
	for _, c := range cases {
		raw := c.file.bytes()
		_, err := readGGUF("x.gguf", bytes.NewReader(raw), int64(len(raw)))
		if !isFormatError(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, expected a *FormatError with %q", c.name, err, c.want)
		}
	}
}

func TestT1GGUFSizesAndOverflows(t *testing.T) {
	const top = uint64(1) << 63
	claims := func(tensors, pairs uint64) *handMade { return &handMade{tensors: tensors, pairs: pairs} }
	list := func(kind uint32, n uint64) *handMade { return good().add("k", 9, kind, n) }
	shape := func(dims ...uint64) *handMade { return (&handMade{data: 64}).tensor("w", 0, 0, dims...) }
	cases := []refusedGGUF{
		{"tensors beyond the file", claims(1<<16, 0), "65536 tensors"},
		{"tensors with the sign bit", claims(top, 0), "tensors"},
		{"all tensors", claims(math.MaxUint64, 0), "tensors"},
		{"pairs beyond the file", claims(0, 1<<15), "32768 keys"},
		{"all pairs", claims(0, math.MaxUint64), "keys"},
		{"key beyond the file", &handMade{pairs: 1, meta: le(uint64(1<<20), "kkkkkkkkkk")}, "a key claims 1048576 bytes"},
		{"endless key", &handMade{pairs: 1, meta: le(uint64(math.MaxUint64), "kkkkkkkkkk")}, "a key claims"},
		{"endless string", good().add("k", 8, uint64(math.MaxUint64)), `value of "k" claims`},
		{"string of 2^63", good().add("k", 8, top), `value of "k" claims`},
		{"list times 8 is 0", list(10, 1<<61), `elements in the value of "k"`},
		{"list of 2^63 bytes", list(0, top), "elements"},
		{"endless list of strings", list(8, math.MaxUint64), "elements"},
		{"endless list of lists", list(9, 1<<60), "elements"},
		{"string within a list", good().add("k", 9, uint32(8), uint64(2), ggufStr("a"), uint64(1<<40)), "claims"},
		{"no dimension", shape(), "has 0 dimensions"},
		{"five dimensions", shape(1, 1, 1, 1, 1), "has 5 dimensions"},
		{"dimension 0", shape(0, 4), "dimension 0 is 0"},
		{"negative dimension", shape(4, math.MaxUint64), "dimension 1 is -1"},
		{"dimension of 2^63", shape(top), "dimension 0"},
		{"product overflows to 0", shape(1<<32, 1<<32), "dimension 1"},
		{"product overflows to the right size", shape(1<<32+1, 1<<32+1), "dimension 1"},
		{"bytes overflow", shape(1 << 62), "more bytes than the file"},
		{"bytes of blocks overflow", (&handMade{data: 64}).tensor("w", 12, 0, 1<<62), "more bytes than the file"},
		{"place near 2^64", (&handMade{data: 64}).tensor("w", 0, math.MaxUint64-31, 4), "begins"},
		{"place of 2^63", (&handMade{data: 64}).tensor("w", 0, top, 4), "begins"},
	}
	checkGGUFRefused(t, cases)
	for _, c := range cases {
		raw := c.file.bytes()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		readGGUF("x.gguf", bytes.NewReader(raw), int64(len(raw)))
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<18 {
			t.Errorf("%s: a file of %d bytes made the reader allocate %d", c.name, len(raw), got)
		}
	}
}

// TestT1GGUFMemory reads the lists that take most memory for their bytes.
func TestT1GGUFMemory(t *testing.T) {
	const n = 1 << 20
	strings := good().add("k", 9, uint32(8), uint64(n), make([]byte, 8*n))
	bytesOf := good().add("k", 9, uint32(0), uint64(8*n), make([]byte, 8*n))
	nested := good().add("k", 9, uint32(9), uint64(1<<15), bytes.Repeat(le(uint32(0), uint64(0)), 1<<15))
	for name, h := range map[string]*handMade{"strings": strings, "bytes": bytesOf, "lists": nested} {
		raw := h.bytes()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readGGUF("x.gguf", bytes.NewReader(raw), int64(len(raw)))
		runtime.ReadMemStats(&after)
		must(t, err)
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(2*len(raw)+8<<20); got > most {
			t.Errorf("%s: %d bytes for a file of %d", name, got, len(raw))
		}
	}
}

func TestT2GGUFValuesAndNames(t *testing.T) {
	nest := func(depth int) []byte {
		b := le(uint32(0), uint64(0))
		for range depth {
			b = le(uint32(9), uint64(1), b)
		}
		return b
	}
	type h = handMade
	alignment := func(kind uint32, v any) *h { return good().add("general.alignment", kind, v) }
	format := func(n uint32) *h { return (&h{data: 64}).tensor("w", n, 0, 32) }
	checkGGUFRefused(t, []refusedGGUF{
		{"alignment 0", alignment(4, uint32(0)), "general.alignment is 0"},
		{"alignment 3", alignment(4, uint32(3)), "general.alignment is 3"},
		{"alignment 48", alignment(4, uint32(48)), "general.alignment is 48"},
		{"alignment below a number's", alignment(4, uint32(4)), "general.alignment is 4"},
		{"negative alignment", alignment(5, int32(-32)), "general.alignment is -32"},
		{"alignment of 2^31", alignment(4, uint32(1<<31)), "general.alignment"},
		{"alignment of 2^63", alignment(10, uint64(1<<63)), "general.alignment"},
		{"alignment is a string", alignment(8, ggufStr("32")), "general.alignment"},
		{"empty key", good().add("", 4, uint32(0)), "a key of the metadata"},
		{"key that is no text", good().add("\xff", 4, uint32(0)), "a key of the metadata"},
		{"long key", good().add(strings.Repeat("k", 1<<16), 4, uint32(0)), "a key claims 65536"},
		{"key twice", good().add("k", 4, uint32(0)).add("k", 4, uint32(0)), `"k" occurs twice`},
		{"unknown kind", good().add("k", 13, uint32(0)), "type 13"},
		{"unknown kind in a list", good().add("k", 9, uint32(13), uint64(0)), "list of type 13"},
		{"boolean 2", good().add("k", 7, uint8(2)), "boolean 2"},
		{"lists in lists in lists", good().add("k", 9, nest(ggufMaxDepth)), "nested too deep"},
		{"a thousand lists deep", good().add("k", 9, nest(1000)), "nested too deep"},
		{"more lists than allowed", good().add("k", 9, uint32(9), uint64(ggufMaxLists+1), make([]byte, 12*(ggufMaxLists+1))), "too many lists"},
		{"empty name", (&h{data: 64}).tensor("", 0, 0, 4), `is called ""`},
		{"name that is no text", (&h{data: 64}).tensor("\xff\xfe", 0, 0, 4), "is called"},
		{"long name", (&h{data: 64}).tensor(strings.Repeat("w", maxName+1), 0, 0, 4), "claims 4097"},
		{"name twice", (&h{data: 64}).tensor("w", 0, 0, 4).tensor("w", 0, 32, 4), "occurs twice"},
		{"given-up format", format(4), "Q4_2"},
		{"given-up layout", format(31), "Q4_0_4_4"},
		{"format of activations", format(15), "Q8_K"},
		{"NVFP4", format(40), "NVFP4"},
		{"unknown format", format(99), "number 99"},
		{"format beyond a byte", format(258), "number 258"},
		{"last format", format(math.MaxUint32), "number 4294967295"},
		{"half a block", (&h{data: 64}).tensor("w", 2, 0, 48), "multiple of 32"},
		{"half a row", (&h{data: 640}).tensor("w", 12, 0, 32, 8), "multiple of 256"},
		{"big-endian", &h{version: 3 << 24}, "big-endian"},
		{"version 1", &h{version: 1}, "version 1"},
		{"version 4", &h{version: 4}, "version 4"},
		{"another file", &h{magic: "GGJT"}, `begins with "GGJT"`},
	})
}

func TestT3GGUFPlaces(t *testing.T) {
	two := func(a, b uint64, data int) *handMade {
		return (&handMade{data: data}).tensor("a", 0, a, 4, 4).tensor("b", 0, b, 4)
	}
	checkGGUFRefused(t, []refusedGGUF{
		{"same place", two(0, 0, 128), `"b": begins at 0, within "a"`},
		{"overlap", two(0, 32, 128), `"b": begins at 32, within "a"`},
		{"overlap in another order", two(32, 0, 48), "the file has"},
		{"not aligned", two(0, 72, 128), "multiple of the alignment 32"},
		{"a byte beyond the end", two(0, 64, 79), "has 79: it is cut short"},
		{"data missing", two(0, 64, 0), "the file has 0"},
		{"begins beyond the end", two(0, 1<<20, 128), "begins 1048576 bytes into the data"},
	})
	// A gap is no fault, and neither is room after the last tensor.
	raw := two(0, 96, 200).bytes()
	_, err := readGGUF("x.gguf", bytes.NewReader(raw), int64(len(raw)))
	must(t, err)
}

// small models: what differs between architectures.
var smallGGUF = map[string]*GGUF{}

func init() {
	base := func(arch string, more ...any) *GGUF {
		g := &GGUF{Values: map[string]any{}}
		g.set("general.architecture", arch)
		for i := 0; i < len(more); i += 2 {
			g.set(arch+more[i].(string), more[i+1])
		}
		for k, v := range map[string]uint32{".block_count": 2, ".context_length": 64, ".embedding_length": 8, ".feed_forward_length": 16, ".attention.head_count": 2} {
			g.set(arch+k, v)
		}
		g.set("tokenizer.ggml.model", "no_vocab")
		slices.Sort(g.Keys)
		return g
	}
	smallGGUF["llama"] = base("llama", ".attention.head_count_kv", uint32(1))
	smallGGUF["qwen2"] = base("qwen2", ".rope.freq_base", float32(1e6), ".rope.scaling.type", "yarn", ".rope.scaling.factor", float32(4), ".rope.scaling.original_context_length", uint32(16))
	smallGGUF["qwen3"] = base("qwen3", ".attention.key_length", uint32(6), ".rope.scaling.type", "linear", ".rope.scaling.factor", float32(2))
	mla := []any{".attention.kv_lora_rank", uint32(4), ".rope.dimension_count", uint32(2), ".expert_count", uint32(4), ".expert_used_count", uint32(2),
		".expert_shared_count", uint32(1), ".expert_feed_forward_length", uint32(8), ".leading_dense_block_count", uint32(1)}
	smallGGUF["deepseek2 of old"] = base("deepseek2", append(mla, ".attention.key_length", uint32(5), ".attention.value_length", uint32(3),
		".rope.scaling.type", "yarn", ".rope.scaling.factor", float32(40), ".rope.scaling.yarn_log_multiplier", float32(0.0707))...)
	smallGGUF["deepseek2"] = base("deepseek2", append(mla, ".attention.key_length", uint32(6), ".attention.value_length", uint32(4), ".attention.key_length_mla", uint32(5),
		".attention.value_length_mla", uint32(3), ".attention.q_lora_rank", uint32(3), ".expert_gating_func", uint32(2), ".expert_weights_norm", true, ".expert_weights_scale", float32(2.5),
		".expert_group_count", uint32(2), ".expert_group_used_count", uint32(1), ".nextn_predict_layers", uint32(1))...)
}

// oneTensor is the least that a model has.
func oneTensor() []ggufTensor {
	raw := make([]byte, 3*8*4)
	return []ggufTensor{{"token_embd.weight", 0, []int{3, 8}, int64(len(raw)), writeBytes(raw)}}
}

func ggufBytes(t testing.TB, g *GGUF, list []ggufTensor) []byte {
	var b bytes.Buffer
	if err := writeGGUF(&b, g, list); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestGGUFConfig compares what config.json is made of metadata, key by key.
func TestGGUFConfig(t *testing.T) {
	want := map[string]map[string]string{
		"llama": {"architectures": `["LlamaForCausalLM"]`, "head_dim": "4", "num_key_value_heads": "1", "rope_interleave": "true", "tie_word_embeddings": "true",
			"vocab_size": "3", "rms_norm_eps": "1e-06", "rope_theta": "10000", "rope_scaling": "null"},
		"qwen2": {"architectures": `["Qwen2ForCausalLM"]`, "num_key_value_heads": "2", "rope_theta": "1e+06",
			"rope_scaling": `{"type":"yarn","factor":4,"original_max_position_embeddings":16,"beta_fast":32,"beta_slow":1}`},
		"qwen3": {"head_dim": "6", "rope_scaling": `{"rope_type":"linear","factor":2}`},
		"deepseek2 of old": {"architectures": `["DeepseekV2ForCausalLM"]`, "q_lora_rank": "null", "qk_nope_head_dim": "3", "v_head_dim": "3", "topk_method": `"greedy"`,
			"norm_topk_prob": "false", "num_key_value_heads": "2",
			"rope_scaling": `{"type":"yarn","factor":40,"original_max_position_embeddings":64,"beta_fast":32,"beta_slow":1,"mscale":0.707,"mscale_all_dim":0.707}`},
		"deepseek2": {"architectures": `["DeepseekV3ForCausalLM"]`, "model_type": `"deepseek_v3"`, "q_lora_rank": "3", "qk_nope_head_dim": "3", "v_head_dim": "3",
			"num_hidden_layers": "1", "num_nextn_predict_layers": "1", "n_group": "2", "topk_group": "1", "topk_method": `"noaux_tc"`, "routed_scaling_factor": "2.5"},
	}
	for name, g := range smallGGUF {
		s, err := openGGUFBytes(ggufBytes(t, g, oneTensor()))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got map[string]any
		must(t, json.Unmarshal(s.Config, &got))
		for key, value := range want[name] {
			var v any
			must(t, json.Unmarshal([]byte(value), &v))
			if !reflect.DeepEqual(got[key], v) {
				t.Errorf("%s: %s is %v, expected %s", name, key, got[key], value)
			}
		}
	}
}

// TestGGUFConfigRefuses changes one thing of a file's metadata.
func TestGGUFConfigRefuses(t *testing.T) {
	for _, c := range []struct {
		base, key string
		value     any
		want      string
	}{
		{"llama", "general.architecture", "bloom", `architecture "bloom"`},
		{"llama", "general.architecture", uint32(1), "expected a string"},
		{"llama", "llama.attention.head_count", uint32(0), "head_count is 0"},
		{"llama", "llama.attention.head_count", "two", "head_count is"},
		{"llama", "llama.block_count", nil, "has no llama.block_count"},
		{"llama", "llama.block_count", int32(-1), "block_count is -1"},
		{"llama", "llama.block_count", uint64(math.MaxUint64), "block_count is"},
		{"llama", "llama.attention.head_count_kv", []uint32{1, 2}, "differs from layer to layer"},
		{"llama", "llama.attention.layer_norm_rms_epsilon", float32(math.NaN()), "epsilon is"},
		{"llama", "llama.expert_count", uint32(8), "8 experts"},
		{"llama", "llama.rope.dimension_count", uint32(2), "rotates 2 of 4"},
		{"llama", "llama.rope.scaling.type", "longrope", "longrope"},
		{"llama", "llama.nextn_predict_layers", uint32(9), "nextn_predict_layers"},
		{"deepseek2", "deepseek2.rope.dimension_count", uint32(6), "rotates 6 of 5"},
		{"deepseek2", "deepseek2.attention.kv_lora_rank", nil, "has no deepseek2.attention.kv_lora_rank"},
		{"deepseek2", "deepseek2.expert_weights_norm", uint32(1), "expected a boolean"},
		{"qwen2", "qwen2.rope.scaling.yarn_ext_factor", float32(0.5), "yarn_ext_factor"},
	} {
		g := &GGUF{Values: map[string]any{}}
		for _, k := range smallGGUF[c.base].Keys {
			g.set(k, smallGGUF[c.base].Values[k])
		}
		if g.drop(c.key); c.value != nil {
			g.set(c.key, c.value)
		}
		_, err := openGGUFBytes(ggufBytes(t, g, oneTensor()))
		if !isFormatError(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %v: got %v, expected a *FormatError with %q", c.key, c.value, err, c.want)
		}
	}
}

// TestGGUFTensorsRefused: tensors that a model has no place for.
func TestGGUFTensorsRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		shape []int
		want  string
	}{
		{"blk.0.ssm_in.weight", []int{8}, "is not known"},
		{"blk.00.attn_q.weight", []int{8}, "is not known"},
		{"blk.-1.attn_q.weight", []int{8}, "is not known"},
		{"blk.100000.attn_q.weight", []int{8}, "is not known"},
		{"attn_q.weight", []int{8}, "is not known"},
		{"blk.0.ffn_up_exps.weight", []int{8, 8}, "which it should not have"},
		{"rope_freqs.weight", []int{2, 2}, "expected a vector"},
		{"rope_freqs.weight", []int{4}, "expected a positive number"},
	} {
		n, _ := elements(c.shape)
		raw := make([]byte, 4*n)
		list := append(oneTensor(), ggufTensor{c.name, 0, c.shape, int64(len(raw)), writeBytes(raw)})
		_, err := openGGUFBytes(ggufBytes(t, smallGGUF["llama"], list))
		if !isFormatError(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: got %v, expected a *FormatError with %q", c.name, c.shape, err, c.want)
		}
	}
}

// TestGGUFRoundTrip writes every kind of value and reads it back.
func TestGGUFRoundTrip(t *testing.T) {
	g := &GGUF{Values: map[string]any{}}
	for i, v := range []any{uint8(200), int8(-3), uint16(60000), int16(-30000), uint32(1 << 31), int32(-5), float32(1.5), true, "naïve\x00", uint64(1 << 63), int64(-1 << 63), 1e300,
		[]uint8{1, 2}, []int8{-1}, []uint16{9}, []int16{-9}, []uint32{7}, []int32{-7, 8}, []float32{0.5, -0}, []bool{true, false}, []string{"a", "", "ü"}, []uint64{1}, []int64{-1},
		[]float64{2.5}, []any{[]string{"x"}, []int32{1, 2, 3}, []any{[]bool{true}}}, []string{}, []int32{}} {
		g.set(fmt.Sprintf("k%02d", i), v)
	}
	raw := ggufBytes(t, g, oneTensor())
	h, err := readGGUF("x", bytes.NewReader(raw), int64(len(raw)))
	must(t, err)
	if !slices.Equal(h.Keys, g.Keys) || !reflect.DeepEqual(h.Values, g.Values) {
		t.Errorf("got %v\nexpected %v", h.Values, g.Values)
	}
	if _, err := appendGGUFHead(nil, &GGUF{Keys: []string{"k"}, Values: map[string]any{"k": complex(1, 2)}}, nil); err == nil {
		t.Error("a complex number was written")
	}
	for i := range raw {
		if _, err := readGGUF("x", bytes.NewReader(raw[:i]), int64(i)); !isFormatError(err) {
			t.Fatalf("cut to %d of %d bytes: %v", i, len(raw), err)
		}
	}
}

// TestGGUFNames: every name has one counterpart, either way.
func TestGGUFNames(t *testing.T) {
	for _, p := range ggufLayer {
		a, b := "blk.7."+p[0], "model.layers.7."+p[1]
		if hfName(a) != b || ggufName(b) != a || layerOf(a) != 7 {
			t.Errorf("%s is %s, %s is %s", a, hfName(a), b, ggufName(b))
		}
	}
	for _, p := range ggufGlobal {
		if hfName(p[0]) != p[1] || ggufName(p[1]) != p[0] || layerOf(p[0]) != -1 {
			t.Errorf("%v: %s, %s", p, hfName(p[0]), ggufName(p[1]))
		}
	}
}

// partsOf writes a model in three parts.
func partsOf(t *testing.T, dir string) (whole string) {
	t.Helper()
	list := oneTensor()
	for _, name := range []string{"output_norm.weight", "output.weight"} {
		raw := le(make([]float32, 24))
		list = append(list, ggufTensor{name, 0, []int{3, 8}, int64(len(raw)), writeBytes(raw)})
	}
	parts := splitGGUF(list, 1)
	for i, p := range parts {
		put(t, dir, partName("m", i, len(parts)), ggufBytes(t, partMeta(smallGGUF["llama"], i, len(parts), len(list)), p))
	}
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	return filepath.Join(dir, "m-00002-of-00003.gguf")
}

// TestGGUFParts opens a model by any of its parts, and refuses what is not one model.
func TestGGUFParts(t *testing.T) {
	for i := range 3 {
		s, err := Open(filepath.Join(filepath.Dir(partsOf(t, t.TempDir())), partName("m", i, 3)))
		must(t, err)
		if len(s.Tensors()) != 3 || len(s.GGUF.Parts) != 3 {
			t.Errorf("part %d: tensors %v, parts %v", i, s.Tensors(), s.GGUF.Parts)
		}
		must(t, s.Close())
	}
	refuse := func(name, want string, change func(dir string)) {
		t.Helper()
		path := partsOf(t, t.TempDir())
		change(filepath.Dir(path))
		if other := filepath.Join(filepath.Dir(path), "other.gguf"); exists(other) {
			path = other
		}
		s, err := Open(path)
		if !isFormatError(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, expected a *FormatError with %q", name, err, want)
		}
		if s != nil {
			s.Close()
		}
	}
	refuse("missing part", "part 3 of 3 of the model", func(dir string) { must(t, os.Remove(filepath.Join(dir, "m-00003-of-00003.gguf"))) })
	refuse("parts swapped", "split.no is 2, expected 0", func(dir string) {
		must(t, os.Rename(filepath.Join(dir, "m-00003-of-00003.gguf"), filepath.Join(dir, "m-00001-of-00003.gguf")))
	})
	refuse("called otherwise", "not called so", func(dir string) {
		must(t, os.Rename(filepath.Join(dir, "m-00001-of-00003.gguf"), filepath.Join(dir, "other.gguf")))
	})
	part := func(dir string, g *GGUF, tensors []ggufTensor) {
		put(t, dir, "m-00003-of-00003.gguf", ggufBytes(t, g, tensors))
	}
	refuse("tensor twice", "is in", func(dir string) { part(dir, partMeta(smallGGUF["llama"], 2, 3, 3), oneTensor()) })
	refuse("tensors missing", "split.tensors.count is 3, expected 2", func(dir string) { part(dir, partMeta(smallGGUF["llama"], 2, 3, 3), nil) })
	refuse("another count", "split.count is 4, expected 3", func(dir string) { part(dir, partMeta(smallGGUF["llama"], 2, 4, 3), nil) })
	endless := partMeta(smallGGUF["llama"], 0, 1, 1)
	endless.set(splitCount, uint64(math.MaxUint64))
	refuse("endless parts", "split.count is", func(dir string) { put(t, dir, "other.gguf", ggufBytes(t, endless, oneTensor())) })
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// TestSaveGGUFKeepsTheOld: a file that could not be written whole leaves what was there.
func TestSaveGGUFKeepsTheOld(t *testing.T) {
	dir := t.TempDir()
	path := put(t, dir, "m.gguf", []byte("old"))
	s, err := openGGUFBytes(ggufBytes(t, smallGGUF["llama"], oneTensor()))
	must(t, err)
	broken := errors.New("broken")
	for _, fill := range []func(io.Writer) error{func(io.Writer) error { return broken }, writeBytes(make([]byte, 95)), writeBytes(make([]byte, 97))} {
		err := saveGGUF(path, s, 0, []outTensor{{"model.embed_tokens.weight", F32, []int{3, 8}, fill}}, 0)
		var se *SaveError
		if !errors.As(err, &se) {
			t.Errorf("got %v", err)
		}
	}
	raw, err := os.ReadFile(path)
	must(t, err)
	if string(raw) != "old" || len(names(t, dir)) != 1 {
		t.Errorf("the old file is %q, the folder %v", raw, names(t, dir))
	}
	must(t, saveGGUF(path, s, 0, []outTensor{{"model.embed_tokens.weight", F32, []int{3, 8}, writeBytes(make([]byte, 96))}}, 0))
	if _, err := Open(path); err != nil {
		t.Error(err)
	}
}

// TestGGUFEnds: tokens that end an answer are found by their spelling, and kept from
// generation_config.json.
func TestGGUFEnds(t *testing.T) {
	g := &GGUF{Values: map[string]any{"tokenizer.ggml.tokens": []string{"<|eot_id|>", "a", "<|eom_id|>", "<|im_end|>"}, "tokenizer.ggml.token_type": []int32{3, 1, 3, 1}}}
	g.nameEnds()
	if g.Values[ggufEOT] != uint32(0) || g.Values[ggufEOM] != uint32(2) {
		t.Errorf("%v", g.Values)
	}
	g.set(ggufEOT, uint32(1))
	if g.nameEnds(); g.Values[ggufEOT] != uint32(1) {
		t.Error("what the file says was replaced")
	}
	list := []text.GGUFValue{{Key: "tokenizer.ggml.eos_token_id", Value: uint32(7)}}
	got := otherEnds([]byte(`{"eos_token_id": [5, 7, 6, 4000000000]}`), 10, list)
	if want := []text.GGUFValue{{Key: ggufEOT, Value: uint32(6)}, {Key: ggufEOM, Value: uint32(5)}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	for _, raw := range []string{``, `{}`, `{"eos_token_id": 7}`, `{"eos_token_id": [-1]}`} {
		if got := otherEnds([]byte(raw), 10, list); len(got) != 0 {
			t.Errorf("%s: %v", raw, got)
		}
	}
}
