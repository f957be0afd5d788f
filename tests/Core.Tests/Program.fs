module Program

open Expecto
open AdvContrast.Testing

[<EntryPoint>]
let main args =
    AdvContrast.Engine.LibTorch.Load()

    let helpers = [
        "Arrays"
        "Laws"
        "Reference"
        "Oracles"
        "Contrasting"
        "Fixtures"
        "Making"
        "Pictures"
        "Climbing"
        "Breaking"
        "Trials"
        "Working"
        "Bordering"
        "Descending"
        "Derivatives"
        "Walking"
        "Weighing"
        "Squaring"
        "Bounding"
        "Pupils"
        "Judging"
        "Shelving"
        "Serving"
    ]

    let lists = [
        Errors.tests
        Shapes.tests
        Draws.tests
        Scopes.tests
        Clocks.tests
        Trees.tests
        Threats.tests
        Balls.tests
        Hyperplanes.tests
        Contrasts.tests
        Kernels.tests
        Negatives.tests
        MultiViews.tests
        SupCons.tests
        Published.tests
        Extremes.tests
        Rejections.tests
        Twins.tests
        Invariances.tests
        Distillations.tests
        Crowds.tests
        Queues.tests
        Refusals.tests
        Entropies.tests
        Margins.tests
        Dlrs.tests
        Robust.tests
        Layers.tests
        Convolutions.tests
        Nets.tests
        Branches.tests
        Foldings.tests
        Ascents.tests
        Iterates.tests
        Assaults.tests
        Survivors.tests
        Momenta.tests
        Apgds.tests
        ApgdForms.tests
        Chances.tests
        CarliniWagners.tests
        WeightSearches.tests
        Nearest.tests
        Squares.tests
        SquareEdges.tests
        Fabs.tests
        FabForms.tests
        Gauntlets.tests
        Boxes.tests
        Views.tests
        Crops.tests
        Colours.tests
        Blurs.tests
        Frequencies.tests
        Tones.tests
        Warps.tests
        Policies.tests
        Schedules.tests
        Transforms.tests
        Trusts.tests
        Updates.tests
        Clusters.tests
        Steps.tests
        Engines.tests
        Adversaries.tests
        Passes.tests
        Averages.tests
        Sources.tests
        Backwards.tests
        Replays.tests
        Attackers.tests
        Streams.tests
        Readers.tests
        Datasets.tests
        Fractions.tests
        Images.tests
        Layouts.tests
        Folders.tests
        Downloads.tests
        Archives.tests
        Files.tests
        Checkpoints.tests
        Keepings.tests
        Configurations.tests
        Manifests.tests
        Runs.tests
        Aheads.tests
        Orders.tests
        Coresets.tests
        Proofs.tests
        Lowered.tests
        Presets.tests
        Resumes.tests
        Probes.tests
        Knns.tests
        Encoders.tests
        Weights.tests
        Accuracies.tests
        Cascades.tests
        Rankings.tests
        Economies.tests
        Checks.tests
        Soundings.tests
        Audits.tests
        Evaluations.tests
        Strangers.tests
        Stored.tests
        Pngs.tests
        Verbs.tests
        Divergences.tests
        Chains.tests
        Givens.tests
        Inventions.tests
        References.tests
    ]

    // One after another: live tensors are counted for the whole process.
    testList "Core" [ yield! lists; TestFiles.check helpers lists ]
    |> testSequenced
    |> runTestsWithCLIArgs [] args
