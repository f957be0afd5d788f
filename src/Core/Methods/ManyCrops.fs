namespace AdvContrast.Core.Methods

open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// Robust EMP-SSL and CF-AMC-SSL (Ghofrani and Jamshidi 2025): many attacked crops of an image drawn to their
/// mean, few epochs, no teacher and no clean images.
[<RequireQualifiedAccess>]
module ManyCrops =

    let private clean = SimClr.clean
    let private radius = 8.0 / 255.0

    let private citation =
        "Ghofrani and Jamshidi: Rethinking Robust Contrastive Learning from the Adversarial Perspective (CF-AMC-SSL), 2025"

    let private crop =
        View.compose [
            Crop.randomResized 0.08
            View.sometimes 0.8 (Colour.jitter 0.4 0.4 0.4 0.2)
            View.sometimes 0.2 Colour.grey
            View.sometimes 0.1 Blur.gaussian
            View.sometimes 0.1 (Colour.solarise 0.5)
        ]

    let private names count letter = [ for i in 1..count -> sprintf "%c%d" letter i ]

    let private loss pass views : Loss =
        fun scene ->
            EmpSsl.loss 200.0 0.2 (views |> List.map (fun view -> LossContext.embedding pass view scene))

    // Steps of 0.01 from the crops themselves.
    let private ascent steps = { GradientAttack.pgd (0.01 / radius) steps with Start = AtInput }

    let private rate = Schedule.cosine 0.3 0.0

    let private optimizer (rate: Schedule) =
        Transform.chain [
            Transform.only Transform.matrices (Transform.larc (Some(Schedule.constant 0.3)) 0.005 1e-4)
            Transform.nesterov 0.9
            Transform.scale rate
        ]

    let private create name summary count epochs replays rate arm =
        let crops, attacked = names count 'v', names count 'a'

        let step =
            Step.create
                (Step.views (crops |> List.map (fun name -> name, crop)))
                [ Pass.train "attacked" attacked clean ]
                "-200 cos(z_v, mean z) - 1/2 log det(I + d/(0.2 B) Z_v'Z_v), means over crops v"
                (loss "attacked" attacked)

        {
            SimClr.method with
                Name = name
                Summary = summary
                Citation = citation
                Head =
                    Head.both (Head.prefeature [ clean ] 4096L) (Head.expander [ clean ] 1 4096L 1024L false)
                Step = arm (List.zip attacked crops) attacked step
                Recipe = {
                    SimClr.method.Recipe with
                        Optimizer = optimizer rate
                        Batch = 100
                        Epochs = epochs
                        Replays = replays
                }
        }

    /// All crops attacked jointly, five steps each, in train mode. published: the attack's passes move the
    /// running statistics, and its parameter gradients are added to the step's.
    let attackedCrops count published =
        create
            "robust-emp-ssl"
            (sprintf "%d attacked crops of each image drawn to their mean" count)
            count
            30
            1
            rate
            (fun makes attacked step -> {
                step with
                    Adversaries = [
                        {
                            Makes = makes
                            Threat = Threat.create Linf radius
                            Ascent = ascent 5
                            Passes = [
                                { Pass.train "moved" attacked clean with Learn = false; Keep = published }
                            ]
                            Objective = loss "moved" attacked
                            Leaks = published
                        }
                    ]
            })

    /// CF-AMC-SSL: the perturbations are carried from batch to batch and climb by the training's own backward
    /// pass; each batch is trained on three times.
    let free count rate =
        create
            "cf-amc-ssl"
            (sprintf "%d crops of each image, attacked for free, drawn to their mean" count)
            count
            10
            3
            rate
            (fun makes _ step -> {
                step with
                    Free = Some { Makes = makes; Threat = Threat.create Linf radius; Ascent = ascent 1 }
            })

    /// With 16 crops.
    let method = attackedCrops 16 false

    /// With 16 crops, for free.
    let freeMethod = free 16 rate

    // The published schedule moves on three times a batch though its period counts batches.
    let private overrun =
        Named.create (rate.Text + ", three times over") (fun (p: Progress) ->
            let part = 3.0 * float p.Step / float (max 1L p.Steps)
            0.15 * (1.0 + cos (System.Math.PI * part)))

    /// Both as their code runs them.
    let asPublished = [
        {
            attackedCrops 16 true with
                Name = "robust-emp-ssl:as-published"
                Quirks =
                    Map [
                        "the attack's parameter gradients are added to the step's, its statistics kept",
                        "the code does not clear them"
                    ]
        }
        {
            free 16 overrun with
                Name = "cf-amc-ssl:as-published"
                Quirks =
                    Map [
                        "the rate falls to 0 at a third, returns at two thirds and ends at 0",
                        "the code's schedule moves on at every replay"
                    ]
        }
    ]
