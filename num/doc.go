// Package num holds the number formats that weights come in: bfloat16, IEEE half
// precision, the two FP8 formats of the Open Compute Project (E4M3 and E5M2) and the
// power-of-two scale UE8M0 of its microscaling formats. Decoding is exact for every
// code; encoding rounds to the nearest, ties to even.
package num
