package hub

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// choose picks the files of a repository that the name means: the chosen GGUF with all
// its parts, or the safetensors with what belongs to them. Pickled weights are never
// among them: reading them runs code.
func choose(n Name, files []File) ([]File, error) {
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no files", n.Repo)
	}
	if n.Choice != "" {
		return chooseNamed(n, files)
	}
	if of(files, ".safetensors") {
		var out []File
		for _, f := range files {
			if belongs(f.Name) {
				out = append(out, f)
			}
		}
		return out, nil
	}
	if !of(files, ".gguf") {
		for _, suffix := range []string{".bin", ".pt", ".pth", ".ckpt"} {
			if of(files, suffix) {
				return nil, fmt.Errorf("%s has its weights as pickled files (*%s) alone, which are not read: they can run code; ask its authors for safetensors", n.Repo, suffix)
			}
		}
		return nil, fmt.Errorf("%s has no weights that are read here: neither safetensors nor GGUF", n.Repo)
	}
	kinds := quantisations(files)
	if len(kinds) > 1 {
		i := slices.IndexFunc(kinds, func(k quantisation) bool { return k.name == "Q4_K_M" })
		if i < 0 {
			return nil, fmt.Errorf("%s has several models; choose one: %s", n.Repo, offer(n, kinds))
		}
		return kinds[i].files, nil
	}
	return kinds[0].files, nil
}

func chooseNamed(n Name, files []File) ([]File, error) {
	for _, f := range files {
		if f.Name == n.Choice {
			if strings.HasSuffix(f.Name, ".gguf") {
				return parts(f.Name, files), nil
			}
			return []File{f}, nil
		}
	}
	kinds := quantisations(files)
	var found []quantisation
	for _, k := range kinds {
		if strings.EqualFold(k.name, n.Choice) || strings.EqualFold(path.Base(k.files[0].Name), n.Choice) {
			found = append(found, k)
		}
	}
	switch {
	case len(found) == 1:
		return found[0].files, nil
	case len(found) > 1:
		return nil, fmt.Errorf("%s has several files of %s; name one by its file: %s", n.Repo, n.Choice, found[0].files[0].Name)
	case len(kinds) > 0:
		return nil, fmt.Errorf("%w: %s has nothing named %s; there are %s", ErrNotFound, n.Repo, n.Choice, offer(n, kinds))
	}
	return nil, fmt.Errorf("%w: %s has no file %s and no GGUF", ErrNotFound, n.Repo, n.Choice)
}

func of(files []File, suffix string) bool {
	return slices.ContainsFunc(files, func(f File) bool { return strings.HasSuffix(f.Name, suffix) })
}

// belongs reports whether a file is needed to run safetensors: the folder's own weights
// and JSON, vocabularies, templates and the licence.
func belongs(name string) bool {
	if strings.Contains(name, "/") {
		return strings.HasPrefix(name, "additional_chat_templates/")
	}
	low := strings.ToLower(name)
	switch path.Ext(low) {
	case ".safetensors":
		return !strings.HasPrefix(low, "consolidated") // the same weights once more, in another layout
	case ".json", ".jinja", ".model", ".tiktoken":
		return true
	}
	return low == "merges.txt" || low == "vocab.txt" || strings.HasPrefix(low, "license")
}

// quantisation is one GGUF model of a repository.
type quantisation struct {
	name  string // "Q4_K_M", or the file's name where it tells none
	files []File
	bytes int64
}

var (
	partPattern  = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.gguf$`)
	quantPattern = regexp.MustCompile(`(?i)(^|[-._/])((IQ|TQ|Q)\d[A-Z0-9_]*|BF16|F16|F32|FP16|MXFP4[A-Z0-9_]*)($|[-._/])`)
)

// quantisations are the GGUF models of a repository, smallest first; projectors of
// pictures and importance matrices are no models.
func quantisations(files []File) []quantisation {
	byStem := map[string]*quantisation{}
	var stems []string
	for _, f := range files {
		base := strings.ToLower(path.Base(f.Name))
		if !strings.HasSuffix(f.Name, ".gguf") || strings.HasPrefix(base, "mmproj") || strings.Contains(base, "imatrix") {
			continue
		}
		stem := strings.TrimSuffix(f.Name, ".gguf")
		if m := partPattern.FindStringSubmatch(f.Name); m != nil {
			stem = m[1]
		}
		q := byStem[stem]
		if q == nil {
			q = &quantisation{name: f.Name}
			if all := quantPattern.FindAllStringSubmatch(stem, -1); len(all) > 0 {
				q.name = strings.ToUpper(all[len(all)-1][2])
			}
			byStem[stem] = q
			stems = append(stems, stem)
		}
		q.files = append(q.files, f)
		q.bytes += f.Size
	}
	var out []quantisation
	for _, s := range stems {
		q := byStem[s]
		slices.SortFunc(q.files, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
		out = append(out, *q)
	}
	slices.SortStableFunc(out, func(a, b quantisation) int { return cmp.Compare(a.bytes, b.bytes) })
	return out
}

// parts are all parts of the GGUF that a file is one of.
func parts(name string, files []File) []File {
	for _, q := range quantisations(files) {
		if slices.ContainsFunc(q.files, func(f File) bool { return f.Name == name }) {
			return q.files
		}
	}
	i := slices.IndexFunc(files, func(f File) bool { return f.Name == name })
	return files[i : i+1]
}

// offer lists what can be chosen.
func offer(n Name, kinds []quantisation) string {
	var out []string
	for _, k := range kinds {
		out = append(out, fmt.Sprintf("%s:%s (%s)", n.Repo, k.name, Size(k.bytes)))
	}
	return strings.Join(out, ", ")
}

// Size writes bytes for people.
func Size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d bytes", n)
}
