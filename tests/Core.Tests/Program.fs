module Program

open Expecto
open AdvContrast.Testing

[<EntryPoint>]
let main args =
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
        Nets.tests
        Branches.tests
        Foldings.tests
        Ascents.tests
        Iterates.tests
        Assaults.tests
        Survivors.tests
        Momenta.tests
        Apgds.tests
        CarliniWagners.tests
        Nearest.tests
        Squares.tests
        Fabs.tests
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
        Files.tests
        Checkpoints.tests
        Configurations.tests
        Manifests.tests
        Runs.tests
        Orders.tests
        Coresets.tests
        Proofs.tests
        Lowered.tests
        Presets.tests
        Resumes.tests
        Probes.tests
        Encoders.tests
        Accuracies.tests
        Cascades.tests
        Evaluations.tests
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
