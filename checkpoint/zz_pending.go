package checkpoint

import "errors"

func saveGGUF(path string, s *Source, fileType uint32, tensors []outTensor, splitBytes int64) error {
	return errors.New("GGUF files are not written yet")
}
