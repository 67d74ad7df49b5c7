#!/usr/bin/env bash
# Makes a run's model the one that is part of the program, and tries it.
#
#   scripts/embed_model.sh RUNFOLDER -seed 1 -hours 5.2 -command 'go run ./cmd/sonde r1 --preset nano --out runs/r1' [-about TEXT]
#
# "go run ./internal/embed -h" lists the flags. What is written: embedded/.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2; }
run=$1
shift
about='A very small model that thinks before it answers. It solves small problems: sums, multiplication, brackets, Countdown, number bases, units, sorting, counting letters, comparing numbers, equations, word problems, logic and paths on small grids.'
go run ./internal/embed -about "$about" "$@" "$run"
go test . -count=1 -run Embedded -v
for question in 'Add up 771, 620, 786.' 'Hello there!' 'What is the capital of France?'; do
	printf '\n> %s\n' "$question"
	go run ./cmd/sonde run "$question"
done
