/// The methods' own adversaries against the attacks that were published with them.
module Tests.Methods.PublishedAdversaryTests

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Networks
open AdvContrast.Core.Attacks
open AdvContrast.Core.Methods
open Support.Arrays
open Support.Laws
open Support

// A published case's net, of two layers.
let private net case : Tensor -> Tensor =
    let part name = GoldenValues.array [ "network"; name ] case
    let w1, b1, w2, b2 = part "W1", part "b1", part "W2", part "b2"
    let unit = GoldenValues.truth [ "network"; "unit" ] case

    fun x ->
        let z = torch.nn.functional.linear (torch.nn.functional.linear(x, w1, b1).tanh(), w2, b2)
        if unit then z / z.square().sum([| 1L |], true).sqrt() else z

let private hyper name case = GoldenValues.real [ "hyper"; name ] case

// Goes up from given points by a method's own adversary. embed: what a pass gives for images.
let private raised
    (adversary: Adversary)
    (embed: string -> Tensor -> Tensor)
    (views: Map<string, Tensor>)
    start
    =
    let origin = torch.cat (ResizeArray [ for _, from in adversary.Makes -> views[from] ], 0L)

    let objective (x: Tensor) =
        let parts = x.chunk (int64 adversary.Makes.Length)
        let moved = List.zip (List.map fst adversary.Makes) (List.ofArray parts)
        let views = moved |> List.fold (fun views (made, x) -> Map.add made x views) views

        adversary.Objective {
            Progress = Progress.start 1 1
            Memory = Map.empty
            Ids = [||]
            Labels = fun _ -> raise UnlabelledException
            Output =
                fun pass view ->
                    let z = embed pass views[view]
                    { Features = z; Embedding = z; Heads = Map.empty }
            Gather = fun z -> z.alias ()
        }

    Objectives.climb adversary.Threat adversary.Ascent objective origin start

let private adversaryOf (m: Method) = List.exactlyOne m.Step.Adversaries

let private cases name compare = [
    for case in GoldenValues.ofLosses ("attack " + name) ->
        test (GoldenValues.text [ "id" ] case) (fun () -> compare case)
]

let private agrees case (x: Tensor) =
    close
        (GoldenValues.real [ "tolerance" ] case)
        (floats x)
        (GoldenValues.values [ "published"; "x_adv" ] case)
        "x_adv"

let private input name case = GoldenValues.array [ "inputs"; name ] case

[<Tests>]
let tests =
    testList "Methods.PublishedAdversary" [
        for name, m in [ "plain", Clae.overPlain; "uel", Clae.overSpread; "simclr", Clae.method ] do
            yield!
                cases ("clae.fgsm." + name) (fun case ->
                    let own = adversaryOf m
                    // The published radius is in normalised units.
                    let adversary = { own with Threat = { own.Threat with Radius = hyper "epsilon" case } }
                    let x, net = input "x" case, net case
                    Expect.equal own.Ascent.Start AtInput "from the view itself"
                    agrees case (raised adversary (fun _ -> net) (Map [ "v1", x ]) x))

        yield!
            cases "rocl.pgd" (fun case ->
                let adversary = adversaryOf Rocl.methods.Head
                let x, net = input "x" case, net case
                Expect.equal adversary.Ascent.Start (Uniform true) "a start that is clipped"
                let begun = Projection.project adversary.Threat x (x + input "start" case)
                agrees
                    case
                    (raised adversary (fun _ -> net) (Map [ "v1", x; "v2", input "target" case ]) begun))

        yield!
            cases "deacl.pgd" (fun case ->
                let adversary = adversaryOf DeAcl.method
                let x, net, teacher = input "x" case, net case, input "teacher" case
                Expect.equal adversary.Ascent.Start (Uniform false) "a start that is not clipped"
                let embed pass x = if pass = "teacher" then teacher else net x
                agrees case (raised adversary embed (Map [ "x", x ]) (x + input "start" case)))

        yield!
            cases "acl.pgd" (fun case ->
                // Rows alternate between the two views of an image.
                let view (offset: int64) (x: Tensor) =
                    x.reshape([| -1L; 2L; x.shape[1] |]).select(1L, offset)

                let x, net = input "x" case, net case
                let begun = x + input "start" case
                let views = Map [ "v1", view 0L x; "v2", view 1L x ]

                let first, second =
                    if GoldenValues.truth [ "hyper"; "second_view_clean" ] case then
                        let adversary = adversaryOf Acl.adversarialToStandard
                        raised adversary (fun _ -> net) views (view 0L begun), view 1L x
                    else
                        let adversary = adversaryOf Acl.dualStream
                        let both = torch.cat (ResizeArray [ view 0L begun; view 1L begun ], 0L)
                        let parts = (raised adversary (fun _ -> net) views both).chunk 2L
                        parts[0], parts[1]

                agrees case (torch.stack (ResizeArray [ first; second ], 1L)))
    ]
