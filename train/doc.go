// Package train teaches a model from text: it finds documents, splits and packs
// them, trains the tokenizer, runs the optimiser, and keeps a run's folder from which
// a run that was killed at any moment goes on with the very losses it would have had.
//
// A run is one folder. Beside the Hugging Face files of the model as it was last saved
// it holds
//
//	run.json       every option of the run
//	log.jsonl      one line a step
//	summary.json   the outcome, once the run is finished
//	data/          the packed tokens and the held-out text
//	events.out.*   curves for TensorBoard
//
// and the training state that package checkpoint keeps. Everything a step does is a
// function of the options and the step's number alone, never of the clock.
package train
