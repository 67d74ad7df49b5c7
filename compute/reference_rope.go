package compute

// pair is where the two numbers of pair i lie.
func (a RopeArgs) pair(i int) (int, int) {
	if a.Halves {
		return i, i + a.Dim/2
	}
	return 2 * i, 2*i + 1
}

// Rope rotates pairs (Su et al., 2021); see RopeArgs.
func (*Reference) Rope(a RopeArgs) {
	a.Check()
	half := a.Dim / 2
	for t := range a.X.rows {
		angles := a.Table.RowF32(id("Rope", a.Pos.RowI32(0)[t], a.Table))
		for h := range a.Heads {
			x := a.X.RowF32(t)[h*a.HeadStride+a.Offset:][:a.Dim]
			for i := range half {
				c, s := angles[i], angles[half+i]
				if a.Inverse {
					s = -s
				}
				u, v := a.pair(i)
				x[u], x[v] = fma(x[u], c, -(x[v]*s)), fma(x[v], c, x[u]*s)
			}
		}
	}
}
