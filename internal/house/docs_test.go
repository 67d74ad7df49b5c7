package house

import (
	"go/ast"
	"go/token"
	"testing"
)

// TestExportedNamesAreDocumented wants a doc comment on every package, and on every
// exported function, method, type, constant and variable; one comment over a group
// of constants or variables serves the group.
func TestExportedNamesAreDocumented(t *testing.T) {
	described := map[string]bool{}
	for _, s := range sources(t) {
		described[s.folder] = described[s.folder] || s.ast.Doc != nil
	}
	for folder, ok := range described {
		if !ok {
			t.Errorf("%s: no file has a package comment", folder)
		}
	}
	for _, s := range sources(t) {
		if s.test || ast.IsGenerated(s.ast) {
			continue
		}
		for _, d := range s.ast.Decls {
			for _, name := range undocumented(d) {
				t.Errorf("%s: %s has no doc comment", s.file, name)
			}
		}
	}
}

// undocumented are the exported names of d without a comment.
func undocumented(d ast.Decl) []string {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
			return []string{d.Name.Name}
		}
	case *ast.GenDecl:
		if d.Tok == token.IMPORT || d.Doc != nil {
			return nil
		}
		var out []string
		for _, s := range d.Specs {
			out = append(out, undocumentedSpec(s)...)
		}
		return out
	}
	return nil
}

func undocumentedSpec(s ast.Spec) []string {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && s.Doc == nil {
			return []string{s.Name.Name}
		}
	case *ast.ValueSpec:
		if s.Doc != nil || s.Comment != nil {
			return nil
		}
		var out []string
		for _, n := range s.Names {
			if n.IsExported() {
				out = append(out, n.Name)
			}
		}
		return out
	}
	return nil
}

// exportedReceiver reports whether a function is reachable by its name: it has no
// receiver, or one of an exported type.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}
