// Package reason teaches a language model to reason as DeepSeek-R1 was taught:
// supervised fine-tuning, reinforcement learning with verifiable rewards (GRPO and what
// came after it), rejection sampling, distillation, and the evaluation of it all. Its
// problems and verifiers are package reason/task's.
//
// Rollouts come from the very weights in training, with the same bits: the probability
// that a token was drawn with is, to the last bit, the one that training computes for
// it, so the first update after a rollout is exactly on-policy.
package reason
