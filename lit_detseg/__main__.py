"""`python -m lit_detseg` is `lit-detseg`."""

from lit_detseg.cli.main import main

main()
