package compute

import "slices"

// Form says which operand of a matrix product is transposed. All matrices are
// row-major. The names are BLAS's for C = op(A) op(B).
type Form uint8

const (
	// NN is C[m,n] = sum_k A[m,k] B[k,n]: gradient to a linear layer's input.
	NN Form = iota
	// NT is C[m,n] = sum_k A[m,k] B[n,k]: a linear layer with weights [out, in].
	NT
	// TN is C[m,n] = sum_k A[k,m] B[k,n]: gradient to a linear layer's weights.
	TN
)

// String is the BLAS name.
func (f Form) String() string { return [...]string{"NN", "NT", "TN"}[f] }

// MatMulArgs describes C (+)= op(A) op(B). C is F32; A is F32; B is a weight in any
// floating or block format (TN: F32 alone). Views may be strided; columns of block
// formats are whole blocks.
//
// Every element of C is one chain of fused multiply-adds over k = 0, 1, 2, ...,
// begun at zero, or at C's old value when Accumulate is set: neither the number of
// rows, nor the blocking, nor the threads change a bit of it.
type MatMulArgs struct {
	Form       Form
	C, A, B    Tensor
	Accumulate bool
	// BF16 rounds F32 operands to bfloat16 (nearest even) before multiplying, if both
	// are F32; a BF16 operand B implies it, the other formats of weights make it moot.
	// Accumulation is in float32 always.
	BF16 bool
}

// Products with F16, E4M3 and block formats: B's elements are widened to F32 exactly
// as package num decodes them (E4M3: times its factor, rounded once) and A stays F32,
// so the result is that of the widened B, bit for bit. NN is the gradient to the input.
//
// NT with a block format B whose Activations are ActInt8 is the exception. With groups
// g of 16 or 32 consecutive k (num.BlockType.Group), codes q and factors d, m such that
// an element of B is d*q + m (see num.BlockType.Unpack) and codes a with factors s of
// A's row (per 32 elements: s = amax/127, a = round to nearest even of x/s):
//
//	C[i,j] = chain over g of fma(s_g*d_g, float32(sum a*q), acc), and where the type
//	has minima, fma(s_g*m_g, float32(sum a), acc) right after it.
//
// A few large elements leave too few codes for the others of their 32. Where s is more
// than four times the mean of its row (Outlying), what the rounding left over,
// x - float32(s*a), is quantised in the same way, and the chain goes on, after the last
// group, over the rests of such groups in their order.
//
// The sums are exact integers, so every way of computing them gives the same bits; one
// row gives the same as many.

// GroupedMatMulArgs describes one product per expert over rows sorted by expert:
// rows Offsets[e] to Offsets[e+1] belong to expert e of E.
//
//	NT: C[R,N] = A[R,K] B[e]^T, B is [E*N, K]
//	NN: C[R,N] = A[R,K] B[e],   B is [E*K, N]
//	TN: C[e] += A[rows of e, M]^T B[rows of e, N], C is [E*M, N]; always accumulates
//
// AIndex and BIndex, where present (I32 [1,R]), say which row of A or B stands for
// row r, so that tokens need not be gathered first. An expert without rows leaves
// its part of C untouched.
type GroupedMatMulArgs struct {
	Form           Form
	C, A, B        Tensor
	Experts        int
	Offsets        Tensor // I32 [1, E+1]
	AIndex, BIndex Tensor // I32 [1, R], optional
	Accumulate     bool   // NN and NT
	BF16           bool
	// Bs, where present (NN and NT), are the experts' matrices one by one, of one
	// format and shape, where they do not lie one after another in memory; B is the
	// zero Tensor then.
	Bs []Tensor
}

// HeadMatMulArgs describes one product per head on column slices of C and A:
// C[:, h*CCols : ] (CWidth wide) = A[:, h*ACols + AOff : ] (AWidth wide) times rows
// [h*BRows+BOff, +BCount) of B, B transposed when Form is NT. It is MLA's
// absorption of W_UK (NN, BCount = AWidth) and W_UV (NT, BCount = CWidth).
type HeadMatMulArgs struct {
	Form          Form // NN or NT
	C, A, B       Tensor
	Heads         int
	CCols, CWidth int
	ACols, AOff   int
	AWidth        int
	BRows, BOff   int
	BCount        int
	BF16          bool
}

// RopeArgs rotates, in place, Dim columns of every head: head h's columns begin at
// h*HeadStride + Offset. Adjacent pairs (2i, 2i+1) are rotated by the angle of Pos
// (interleaved form, DeepSeek's), or with Halves the pairs (i, i+Dim/2) (Llama's and
// Qwen's in Hugging Face's checkpoints). Table is F32 [positions, Dim]: Dim/2 cosines,
// then Dim/2 sines. Inverse rotates back, which is the gradient.
type RopeArgs struct {
	X                 Tensor // F32 [T, ...]
	Pos               Tensor // I32 [1, T]
	Table             Tensor
	Heads, HeadStride int
	Offset, Dim       int
	Inverse           bool
	Halves            bool
}

// MLAArgs describes causal attention in MLA's expanded form for rows of several
// sequences side by side, without materialising scores. Softmax runs over keys in blocks
// of KeyBlock counted from the sequence's start, so a row's result depends neither on
// what is beside it nor on how its sequence was cut into calls.
//
//	Q   [T, H*(Nope+Rope)]  per head: q_nope | q_rope (roped)
//	O   [T, H*V]            output
//	LSE [T, H]              optional: log-sum-exp of the scaled scores, for the backward
type MLAArgs struct {
	Heads, Nope, Rope, V int
	Scale                float32
	Q, O, LSE            Tensor
	Seqs                 []MLASeq
	// KV and KR, where present, are the rows' own keys and values [T, as MLASeq's]: they
	// are first written to their places in the sequences' KV and KR.
	KV, KR Tensor
	// Picks, where present (I32 [T, K]), are the only keys a row sees: places within
	// its sequence, ascending, -1 where there are fewer (V3.2's sparse attention).
	Picks Tensor
}

// MLASeq is one sequence's share of MLAArgs: rows [Row, Row+Rows) of Q and O stand at
// positions Start, Start+1, ... and see keys and values 0 to their own position.
//
//	KV [at least Start+Rows, H*(Nope+V)]  per head: k_nope | v
//	KR [at least Start+Rows, Rope]        roped key shared by all heads
type MLASeq struct {
	Row, Rows, Start int
	KV, KR           Tensor
}

// MLAGrads are the gradients of MLAArgs whose sequences all start at 0: DO is given;
// DQ, DKV [T, H*(Nope+V)] and DKR [T, Rope] are written (not accumulated), those to a
// sequence's keys and values in its rows of Q. Other rows are left as they are.
type MLAGrads struct {
	DO, DQ, DKV, DKR Tensor
}

// LatentArgs describes causal attention in MLA's absorbed form for new rows of several
// sequences side by side.
//
//	Q [T, H*(Latent+Rope)]  per head: absorbed query | roped query
//	O [T, H*Latent]
//
// A row's result depends neither on what is beside it nor on how its sequence was cut
// into calls: keys are taken in blocks from the start of the sequence.
type LatentArgs struct {
	Heads, Latent, Rope int
	Scale               float32
	Q, O                Tensor
	Seqs                []LatentSeq
	Picks               Tensor // I32 [T, K], optional: as in MLAArgs
}

// LatentSeq is one sequence's share of LatentArgs: rows [Row, Row+Rows) stand at
// positions Start, Start+1, ... and see cache rows 0 to their own position.
type LatentSeq struct {
	Row, Rows, Start int
	Cache            Tensor // F32 [at least Start+Rows, Latent+Rope]: latent after its norm | roped key
}

// AttentionArgs describes causal grouped-query attention (arXiv 2305.13245) for new
// rows of several sequences side by side, without materialising scores: head h meets
// key head h / (Heads/KVHeads). Keys are taken in blocks of KeyBlock from the start of
// their sequence, so a row's result depends neither on what is beside it nor on how its
// sequence was cut into calls.
type AttentionArgs struct {
	Heads, KVHeads, Dim int
	Scale               float32
	Q                   Tensor // F32 [T, Heads*Dim], roped
	O                   Tensor // F32 [T, Heads*Dim]
	LSE                 Tensor // F32 [T, Heads], optional: log-sum-exp of the scaled scores, for the backward
	Seqs                []AttentionSeq
	// K and V, where present, are the rows' own keys and values [T, KVHeads*Dim]: they
	// are first written to their places in the sequences' K and V.
	K, V Tensor
}

// AttentionSeq is one sequence's share: rows [Row, Row+Rows) of Q and O stand at
// positions Start, Start+1, ... and see keys and values 0 to their own position.
type AttentionSeq struct {
	Row, Rows, Start int
	// K and V are [at least Start+Rows, KVHeads*Dim], roped: both F32, or where no backward
	// follows and Dim is a multiple of 8 both F16, of which the even of two equally near
	// numbers was taken.
	K, V Tensor
}

// AttentionGrads are the gradients of AttentionArgs whose sequences all start at 0: DO
// is given; DQ, and per sequence DK and DV (as K and V, Rows rows), are written.
type AttentionGrads struct {
	DO, DQ Tensor
	DK, DV []Tensor
}

// IndexArgs describes V3.2's lightning indexer (DeepSeek-V3.2 report, section 2.1) for
// M new rows of one sequence: row i at position Start+i scores key t <= Start+i with
// sum over heads h of W[i,h] * relu(Q[i,h] . K[t]) and picks the TopK best, of equal
// ones the earlier. Picks are ascending places, -1 where fewer are visible.
type IndexArgs struct {
	Heads, Dim, TopK, Start int
	Q                       Tensor // F32 [M, Heads*Dim], roped, any factor multiplied in W
	W                       Tensor // F32 [M, Heads]
	K                       Tensor // F32 [at least Start+M, Dim]
	Picks                   Tensor // I32 [M, TopK]
}

// RouteArgs describes DeepSeek's routers. V3's (noaux_tc): s = sigmoid(logits); s+bias
// selects (a group's score is the sum of its best two; other groups are masked with
// -inf); the weights are the unbiased s of the chosen, divided by their sum when
// Normalize is set, times Scale. Chosen experts are listed in ascending order. V2's:
// with Softmax s = softmax(logits), with GroupMax a group's score is its best expert's;
// Bias is the zero Tensor.
type RouteArgs struct {
	TopK, Groups, TopGroups int
	Normalize               bool
	Softmax, GroupMax       bool
	Scale                   float32
	Logits                  Tensor // F32 [T, E]
	Bias                    Tensor // F32 [1, E], optional
	// Given says that Experts are chosen already and to be followed, ascending in each
	// row: a rollout's choice, which training keeps (DeepSeek-V3.2, section 3.1). Scores,
	// weights and the plan are made for them.
	Given bool

	// Results, of which Experts may be given.
	Scores  Tensor // F32 [T, E]: sigmoid or softmax of the logits
	Experts Tensor // I32 [T, K], ascending
	Weights Tensor // F32 [T, K]
	// The plan of dispatch: row r of expert order holds token Token[r]; the rows of
	// token t are Slot[t, 0..K). Rows of an expert are in token order.
	Offsets Tensor // I32 [1, E+1]
	Token   Tensor // I32 [1, T*K]
	Slot    Tensor // I32 [T, K]
	RowW    Tensor // F32 [1, T*K]: the weight of row r
}

// RouteBackwardArgs gives the gradient to the router's logits, overwritten. DRowW is
// the gradient to RowW. AuxAlpha adds the sequence-wise balance loss of the V3
// report, eq. 17-20, over the sequences side by side whose lengths Lens lists (it needs
// no lengths where AuxAlpha is 0), averaged over sequences and multiplied by AuxScale
// (1/number of micro-batches).
type RouteBackwardArgs struct {
	RouteArgs
	DRowW    Tensor // F32 [1, T*K]
	DLogits  Tensor // F32 [T, E]
	Lens     []int
	AuxAlpha float32
	AuxScale float32
}

// LogProbArgs describes the operation at the vocabulary: logits = H W^T, and for
// each row the log-probability of its target, the entropy and the log-sum-exp. The
// logits are made block by block and never stored whole. A target below 0 marks a
// row to pass over: its LogP and Entropy are 0.
type LogProbArgs struct {
	H Tensor // F32 [T, D]
	W Tensor // any floating or block format [V, D]; F32 activations
	// Logits, where present, are F32 [T, V] that were made before, in place of H and W;
	// no backward follows. What is found for H W^T's own logits has the bits of what is
	// found for H and W.
	Logits  Tensor
	Targets Tensor // I32 [1, T]
	LogP    Tensor // F32 [1, T]
	Entropy Tensor // F32 [1, T], optional
	BF16    bool
	// InvTemp multiplies the logits, as sampling at temperature 1/InvTemp does; 0 counts
	// as 1.
	InvTemp float32
	// Allowed, where present, are the ids that each row's softmax runs over; a row
	// without any runs over all. Targets must be among them.
	Allowed IDSets
}

// IDSets are sets of ids, one per row: ids Offsets[t] to Offsets[t+1] of IDs, ascending,
// are row t's.
type IDSets struct {
	Offsets Tensor // I32 [1, T+1]
	IDs     Tensor // I32 [1, any number]
}

// IsZero tells whether there are no sets at all.
func (s IDSets) IsZero() bool { return s.Offsets.IsZero() }

// Row is the ids of row t.
func (s IDSets) Row(t int) []int32 {
	off := s.Offsets.RowI32(0)
	if off[t] == off[t+1] {
		return nil
	}
	return s.IDs.RowI32(0)[off[t]:off[t+1]]
}

// Unlikely stands for the logit of an id that a row is not allowed: its probability is 0,
// and no arithmetic with it overflows.
const Unlikely = -1e30

// Forbid sets to Unlikely those of n logits of row t, of the ids from first on, that it is
// not allowed; they lie step floats apart.
func (a LogProbArgs) Forbid(t, first, n, step int, logits []float32) {
	if a.Allowed.IsZero() {
		return
	}
	ids := a.Allowed.Row(t)
	if len(ids) == 0 {
		return
	}
	at, _ := slices.BinarySearch(ids, int32(first))
	for j := range n {
		if at < len(ids) && int(ids[at]) == first+j {
			at++
			continue
		}
		logits[j*step] = Unlikely
	}
}

// Vocab is the number of ids.
func (a LogProbArgs) Vocab() int {
	if !a.Logits.IsZero() {
		return a.Logits.cols
	}
	return a.W.rows
}

// Rows are the arguments of rows [from, to).
func (a LogProbArgs) Rows(from, to int) LogProbArgs {
	if a.Logits.IsZero() {
		a.H = a.H.Rows(from, to)
	} else {
		a.Logits = a.Logits.Rows(from, to)
	}
	a.Targets, a.LogP = a.Targets.Cols(from, to), a.LogP.Cols(from, to)
	if !a.Entropy.IsZero() {
		a.Entropy = a.Entropy.Cols(from, to)
	}
	if !a.Allowed.IsZero() {
		a.Allowed.Offsets = a.Allowed.Offsets.Cols(from, to+1)
	}
	return a
}

// Temper is what multiplies logits and, in the backward, coefficients.
func (a LogProbArgs) Temper() float32 {
	if a.InvTemp == 0 {
		return 1
	}
	return a.InvTemp
}

// LogProbBackwardArgs runs the same operation with a coefficient per row and gives
// the gradients of sum_t Coef[t] * LogP[t]: DH is written, DW accumulated. It writes
// LogP and Entropy too, so a loss whose coefficients are known beforehand
// (cross-entropy: -1/N) needs no separate forward.
type LogProbBackwardArgs struct {
	LogProbArgs
	Coef Tensor // F32 [1, T]
	DH   Tensor // F32 [T, D]
	DW   Tensor // F32 [V, D], optional
}

// AdamWArgs describes one step of AdamW (Loshchilov & Hutter) on one tensor, all
// F32: g = GradScale*G; M, V are the moments; P -= LR*(mhat/(sqrt(vhat)+Eps) +
// WeightDecay*P). Correct1 and Correct2 are 1-beta^t. Working, where present (BF16),
// receives P rounded.
type AdamWArgs struct {
	P, G, M, V, Working   Tensor
	LR, Beta1, Beta2, Eps float32
	WeightDecay           float32
	Correct1, Correct2    float32
	GradScale             float32
}

// Backend is a processor with its memory. Operations are issued in order; a
// download waits for them. The results do not depend on the number of threads.
// Shapes are the caller's duty: a mismatch is a bug and panics with both shapes.
type Backend interface {
	// Name says which kernels run, such as "avx2".
	Name() string
	// Threads is the number of workers.
	Threads() int
	// NewArena makes an empty arena in this device's memory.
	NewArena(name string) *Arena
	// Close stops the workers. Tensors of its arenas must not be used afterwards.
	Close()

	// Upload fills t from row-major contiguous bytes of format src, converting to
	// t's format.
	Upload(t Tensor, src DType, raw []byte)
	UploadF32(t Tensor, v []float32)
	UploadI32(t Tensor, v []int32)
	DownloadF32(dst []float32, t Tensor)
	DownloadI32(dst []int32, t Tensor)
	// Download copies t's elements in t's own format to dst, contiguous.
	Download(dst []byte, t Tensor)

	Zero(t Tensor)
	// Copy converts between F32 and BF16 where the formats differ.
	Copy(dst, src Tensor)
	// Add is dst += src (F32).
	Add(dst, src Tensor)
	// Scale is t *= s (F32).
	Scale(t Tensor, s float32)
	// SumSquares is the sum of squares in float64, in an order of its own.
	SumSquares(t Tensor) float64

	// Embed is out[t] = table[ids[t]]; out F32 [T,D], table in any floating or block
	// format, ids I32 [1,T].
	Embed(out, table, ids Tensor)
	// EmbedBackward is dtable[ids[t]] += dout[t], in the order of t.
	EmbedBackward(dtable, dout, ids Tensor)

	MatMul(a MatMulArgs)
	// MatMuls is several products, of which none reads what another writes: queries,
	// keys and values of the same rows. It is MatMul of each, with less ado.
	MatMuls(a []MatMulArgs)
	GroupedMatMul(a GroupedMatMulArgs)
	HeadMatMul(a HeadMatMulArgs)

	// RMSNorm is y = x * rstd * w, rstd = 1/sqrt(mean(x^2)+eps) per row, kept in
	// rstd (F32 [1,T], optional). x, y F32 [T,D]; w F32 [1,D].
	RMSNorm(y, rstd, x, w Tensor, eps float32)
	// RMSNormBackwardInput writes dx, or adds to it.
	RMSNormBackwardInput(dx, dy, x, w, rstd Tensor, accumulate bool)
	// RMSNormBackwardWeight is dw += sum_t dy * x * rstd, in the order of t.
	RMSNormBackwardWeight(dw, dy, x, rstd Tensor)

	// LayerNorm is y = (x - mean) / sqrt(variance + eps) * w + b per row. x, y F32
	// [T,D], y may be x; w, b F32 [1,D].
	LayerNorm(y, x, w, b Tensor, eps float32)
	// AddRow is dst[t] += row: a bias. dst F32 [T,D], row F32 [1,D].
	AddRow(dst, row Tensor)
	// SumRows is drow += sum over t of dy[t], in the order of t: a bias's gradient.
	SumRows(drow, dy Tensor)

	Rope(a RopeArgs)

	// SwiGLU is y = silu(gate) * up * rowScale; rowScale F32 [1,T], optional.
	SwiGLU(y, gate, up, rowScale Tensor)
	// SwiGLUBackward writes dgate, dup and, where rowScale is present, drowScale.
	// dgate may be gate and dup may be up (in place).
	SwiGLUBackward(dgate, dup, drowScale, dy, gate, up, rowScale Tensor)

	MLAForward(a MLAArgs)
	MLABackward(a MLAArgs, g MLAGrads)
	LatentAttention(a LatentArgs)
	Attention(a AttentionArgs)
	AttentionBackward(a AttentionArgs, g AttentionGrads)
	Index(a IndexArgs)

	Route(a RouteArgs)
	RouteBackward(a RouteBackwardArgs)
	// CombineRows is y[t] (+)= sum over j of rows[slot[t,j]], in the order of j.
	CombineRows(y, rows, slot Tensor, accumulate bool)

	LogProb(a LogProbArgs)
	LogProbBackward(a LogProbBackwardArgs)

	AdamW(a AdamWArgs)
}
