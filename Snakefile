# The entry: `snakemake --cores all`. An include does not carry the default target over, so it is named here.
include: "workflow/Snakefile"


workflow.default_target = "all"
