package opcheck

import "sonde/compute"

// operations are all of Backend's, with the problems they are tried on.
var operations = []struct {
	name     string
	problems func() []*problem
}{
	{"Transfers", transfers},
	{"Elementwise", elementwise},
	{"Embed", embeds},
	{"MatMul", matmuls},
	{"GroupedMatMul", groupedMatmuls},
	{"HeadMatMul", headMatmuls},
	{"RMSNorm", norms},
	{"LayerNorm", layerNorms},
	{"Bias", biases},
	{"Rope", ropes},
	{"SwiGLU", swiglus},
	{"MLA", mlas},
	{"LatentAttention", latents},
	{"Attention", attentions},
	{"Index", indexes},
	{"Route", routes},
	{"CombineRows", combines},
	{"LogProb", logprobs},
	{"AdamW", adams},
	{"Formats", formatProducts},
	{"FormatsGrouped", formatGroups},
	{"FormatsHeads", formatHeads},
	{"FormatsRead", formatReads},
	{"FormatsLogProb", formatLogProbs},
	{"Int8", int8Products},
	{"Int8Grouped", int8Groups},
}

type tensors = map[string]compute.Tensor

var layouts = []bool{false, true}

func transfers() (ps []*problem) {
	for _, strided := range layouts {
		for _, s := range [][2]int{{1, 1}, {1, 7}, {3, 20}, {5, 64}, {40, 129}} {
			p := newProblem(strided, "%dx%d", s[0], s[1])
			p.in("f", s[0], s[1], 3)
			p.inBF16("h", s[0], s[1], 3)
			p.ids("i", s[0], s[1], -9, 9)
			p.in("fromF", s[0], s[1], 1).result(exact)
			p.inBF16("fromF/h", s[0], s[1], 1).result(exact)
			p.in("fromH", s[0], s[1], 1).result(exact)
			p.inBF16("raw", s[0], s[1], 1).result(exact)
			p.ids("fromI", s[0], s[1], 0, 9).result(exact)
			p.call = func(be compute.Backend, t tensors) {
				n := t["f"].Len()
				v, w, ids, raw := make([]float32, n), make([]float32, n), make([]int32, n), make([]byte, 4*n)
				be.DownloadF32(v, t["f"])
				be.UploadF32(t["fromF"], v)
				be.UploadF32(t["fromF/h"], v)
				be.DownloadF32(w, t["h"])
				be.UploadF32(t["fromH"], w)
				be.DownloadI32(ids, t["i"])
				be.UploadI32(t["fromI"], ids)
				be.Download(raw, t["f"])
				be.Upload(t["raw"], compute.F32, raw)
			}
			ps = append(ps, p)
		}
	}
	return ps
}

func elementwise() (ps []*problem) {
	for _, strided := range layouts {
		for _, s := range [][2]int{{1, 1}, {1, 20}, {3, 24}, {7, 33}, {2, 4096}, {130, 515}} {
			p := newProblem(strided, "%dx%d", s[0], s[1])
			p.in("a", s[0], s[1], 1)
			p.inBF16("b", s[0], s[1], 1)
			p.in("zero", s[0], s[1], 1).result(exact)
			p.inBF16("zero/h", s[0], s[1], 1).result(exact)
			p.ids("zero/i", s[0], s[1], 1, 9).result(exact)
			p.in("copy", s[0], s[1], 1).result(exact)
			p.inBF16("narrow", s[0], s[1], 1).result(exact)
			p.in("widen", s[0], s[1], 1).result(exact)
			p.in("add", s[0], s[1], 1).result(exact)
			p.in("scale", s[0], s[1], 1).result(exact)
			p.in("squares", 1, 1, 1).result(1e-6)
			p.call = func(be compute.Backend, t tensors) {
				be.Zero(t["zero"])
				be.Zero(t["zero/h"])
				be.Zero(t["zero/i"])
				be.Copy(t["copy"], t["a"])
				be.Copy(t["narrow"], t["a"])
				be.Copy(t["widen"], t["b"])
				be.Add(t["add"], t["a"])
				be.Scale(t["scale"], 0.3)
				be.UploadF32(t["squares"], []float32{float32(be.SumSquares(t["a"]))})
			}
			ps = append(ps, p)
		}
	}
	return ps
}

func embeds() (ps []*problem) {
	for _, strided := range layouts {
		for _, s := range [][3]int{{1, 3, 1}, {7, 5, 20}, {64, 40, 33}, {130, 7, 256}} { // tokens, vocabulary, width
			p := newProblem(strided, "T%d V%d D%d", s[0], s[1], s[2])
			p.ids("ids", 1, s[0], 0, s[1])
			p.in("table", s[1], s[2], 1)
			p.inBF16("table/h", s[1], s[2], 1)
			p.in("dout", s[0], s[2], 1)
			p.in("out", s[0], s[2], 1).result(exact)
			p.in("out/h", s[0], s[2], 1).result(exact)
			p.in("dtable", s[1], s[2], 1).result(exact)
			p.call = func(be compute.Backend, t tensors) {
				be.Embed(t["out"], t["table"], t["ids"])
				be.Embed(t["out/h"], t["table/h"], t["ids"])
				be.EmbedBackward(t["dtable"], t["dout"], t["ids"])
			}
			ps = append(ps, p)
		}
	}
	return ps
}

func adams() (ps []*problem) {
	for _, strided := range layouts {
		for _, s := range [][2]int{{1, 1}, {1, 20}, {3, 24}, {7, 33}, {66, 515}} {
			p := newProblem(strided, "%dx%d", s[0], s[1])
			p.in("p", s[0], s[1], 0.1).result(1e-6)
			p.in("g", s[0], s[1], 1)
			p.in("m", s[0], s[1], 0.1).result(1e-6)
			v := p.in("v", s[0], s[1], 0.1).result(1e-6)
			for i := range v.data {
				v.data[i] *= v.data[i]
			}
			p.inBF16("w", s[0], s[1], 1).result(2e-3)
			p.call = func(be compute.Backend, t tensors) {
				a := compute.AdamWArgs{P: t["p"], G: t["g"], M: t["m"], V: t["v"], LR: 0.01, Beta1: 0.9, Beta2: 0.95,
					Eps: 1e-8, WeightDecay: 0.1, Correct1: 0.19, Correct2: 0.0975, GradScale: 0.5}
				be.AdamW(a) // without a working copy, then with
				a.Working = t["w"]
				be.AdamW(a)
			}
			ps = append(ps, p)
		}
	}
	return ps
}
