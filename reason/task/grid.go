package task

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
)

// GridPaths returns the task of finding a shortest path through a small grid with walls:
// four by four at the default difficulty, six by six at the hard one. The thought spreads
// from the start, distance by distance, and then names the cells of a path. Every
// shortest path is right; a longer one that reaches the goal scores 0.3.
func GridPaths() Task {
	return Family{Info{"grid-paths", "find a shortest path through a grid with walls", 2, 4}, makeGrid}
}

var gridPhrasings = []string{
	"Find a shortest path from S to G. # is a wall. Answer with the moves U, D, L, R.\n%[1]s",
	"In this grid, go from S to G in as few moves as possible. You cannot enter #. Give the moves as letters U, D, L, R.\n%[1]s",
	"What is a shortest way from S to G? Walls are #. Write it as a string of U, D, L and R.\n%[1]s",
	"%[1]s\nGive the moves (U, D, L, R) of a shortest path from S to G that avoids the walls #.",
	"Here is a map:\n%[1]s\nWhich moves U, D, L, R lead from S to G on a shortest path around the walls #?",
}

// grid is a square map.
type grid struct {
	size        int
	wall        []bool // size*size, row by row
	start, goal int
}

// gridMoves are the moves in the order in which cells are looked at.
var gridMoves = []struct {
	letter   byte
	row, col int
}{{'U', -1, 0}, {'D', 1, 0}, {'L', 0, -1}, {'R', 0, 1}}

func makeGrid(rng *rand.Rand, difficulty int) Problem {
	size := min(difficulty+2, 9)
	for {
		g := grid{size: size, wall: make([]bool, size*size), start: rng.IntN(size * size), goal: rng.IntN(size * size)}
		for i := range g.wall {
			g.wall[i] = i != g.start && i != g.goal && rng.IntN(4) == 0
		}
		distance := g.distances(g.start)
		if distance[g.goal] < 2 || (difficulty > 3 && distance[g.goal] < size) {
			continue
		}
		path := g.path(distance)
		return Problem{
			Canonical: g.String(),
			Prompt:    say(rng, gridPhrasings, g.String()),
			Answer:    path,
			Thought:   g.spread(distance) + g.walk(path) + "so " + path,
			Check:     g.verifier(distance[g.goal]),
		}
	}
}

// String draws the map.
func (g grid) String() string {
	var b strings.Builder
	for i := range g.wall {
		if i > 0 && i%g.size == 0 {
			b.WriteByte('\n')
		}
		switch {
		case i == g.start:
			b.WriteByte('S')
		case i == g.goal:
			b.WriteByte('G')
		case g.wall[i]:
			b.WriteByte('#')
		default:
			b.WriteByte('.')
		}
	}
	return b.String()
}

// step returns the cell that a move leads to, or -1.
func (g grid) step(cell, m int) int {
	row, col := cell/g.size+gridMoves[m].row, cell%g.size+gridMoves[m].col
	if row < 0 || col < 0 || row >= g.size || col >= g.size || g.wall[row*g.size+col] {
		return -1
	}
	return row*g.size + col
}

// distances gives each cell's distance from a cell, -1 where there is no way.
func (g grid) distances(from int) []int {
	out := make([]int, len(g.wall))
	for i := range out {
		out[i] = -1
	}
	out[from] = 0
	for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
		for m := range gridMoves {
			if next := g.step(queue[0], m); next >= 0 && out[next] < 0 {
				out[next] = out[queue[0]] + 1
				queue = append(queue, next)
			}
		}
	}
	return out
}

// path is a shortest path, found backwards from the goal by distances from the start.
func (g grid) path(distance []int) string {
	var reversed []byte
	for cell := g.goal; cell != g.start; {
		for m := range gridMoves {
			back := m ^ 1 // U and D, L and R are neighbours in gridMoves
			if prev := g.step(cell, back); prev >= 0 && distance[prev] == distance[cell]-1 {
				reversed = append(reversed, gridMoves[m].letter)
				cell = prev
				break
			}
		}
	}
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	return string(reversed)
}

// name is a cell's row and column, from 1.
func (g grid) name(cell int) string { return fmt.Sprintf("%d%d", cell/g.size+1, cell%g.size+1) }

// spread writes the cells at each distance from the start, up to the goal's.
func (g grid) spread(distance []int) string {
	var b strings.Builder
	for d := 0; d <= distance[g.goal]; d++ {
		fmt.Fprintf(&b, "%d:", d)
		for cell, at := range distance {
			if at == d {
				b.WriteString(" " + g.name(cell))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// walk writes the cells of a path with the moves between them.
func (g grid) walk(path string) string {
	cell := g.start
	var b strings.Builder
	b.WriteString(g.name(cell))
	for i := range len(path) {
		cell = g.step(cell, moveIndex(path[i]))
		fmt.Fprintf(&b, " %c %s", path[i], g.name(cell))
	}
	b.WriteByte('\n')
	return b.String()
}

// moveIndex finds a move by its letter, or -1.
func moveIndex(letter byte) int {
	for i, m := range gridMoves {
		if m.letter == letter {
			return i
		}
	}
	return -1
}

// reachesGoal is the score of a path that is not a shortest one.
const reachesGoal = 0.3

// moveWords are moves written out and as arrows.
var moveWords = strings.NewReplacer("UP", "U", "DOWN", "D", "LEFT", "L", "RIGHT", "R", "↑", "U", "↓", "D", "←", "L", "→", "R",
	" ", "", ",", "", ";", "", "-", "", ">", "", "[", "", "]", "", "\"", "", "'", "")

// verifier walks the answer through the map.
func (g grid) verifier(shortest int) Verifier {
	return func(_ context.Context, answer string) Verdict {
		moves := moveWords.Replace(strings.ToUpper(clean(answer)))
		if len(moves) > 4*len(g.wall) {
			return wrong("the path is too long")
		}
		cell := g.start
		for i := range len(moves) {
			m := moveIndex(moves[i])
			if m < 0 {
				return wrong("%.40q is not a string of the moves U, D, L, R", answer)
			}
			if cell = g.step(cell, m); cell < 0 {
				return wrong("move %d leads into a wall or out of the map", i+1)
			}
		}
		switch {
		case cell != g.goal:
			return wrong("the path does not end at G")
		case len(moves) > shortest:
			return Verdict{reachesGoal, fmt.Sprintf("the path has %d moves, the shortest %d", len(moves), shortest)}
		}
		return right()
	}
}
