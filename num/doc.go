// Package num holds the number formats that weights come in: bfloat16, IEEE half
// precision, the two FP8 formats of the Open Compute Project (E4M3 and E5M2), the
// power-of-two scale UE8M0 of its microscaling formats, and GGUF's block formats, whose
// numbers share factors. Decoding is exact for every code; encoding a single number
// rounds to the nearest, ties to even, and encoding a block searches for the factors of
// least squared error.
package num
