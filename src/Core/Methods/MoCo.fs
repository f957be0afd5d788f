namespace AdvContrast.Core.Methods

open AdvContrast.Core.Foundation
open AdvContrast.Core.Optim
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// MoCo v2 (He et al., CVPR 2020; Chen et al. 2020): queries against keys that a slow average of the network
/// computes, this batch's and a queue of earlier ones. Settings for 32 pixels as in solo-learn (da Costa et
/// al. 2022).
[<RequireQualifiedAccess>]
module MoCo =

    let private clean = SimClr.clean
    let private keys = "keys"

    let private queue (scene: LossContext) =
        match scene.Memory["queue"] with
        | Leaf.Tensor queue -> queue
        | _ -> invalidOp "the queue is a tensor."

    /// The key is the average's view of the first side, the query the network's of the second.
    let comparison temperature = {
        Between =
            fun key query scene ->
                MomentumContrast.loss
                    temperature
                    (LossContext.embedding query.Pass query.View scene)
                    (Comparison.targetEmbedding key scene)
                    (queue scene)
        Beside = fun key _ -> [ Comparison.target keys key ]
        Start = AtInput
    }

    /// With a queue of `length` keys, which it fills with random directions at first.
    let create (length: int) =
        let compare = comparison 0.2
        let key, query = Comparison.side "v2" "keyed" clean, Comparison.side "v1" "clean" clean

        let first (draw: Rng) (width: int64) : TensorTree =
            let rows = { draw with Ids = [| 0L .. int64 length - 1L |] }
            Map [
                "queue",
                Leaf.Tensor(Scope.tensor (fun () -> Similarity.normalise (Rng.normal [ width ] rows)))
            ]

        let after (scene: LossContext) =
            let entered = MomentumContrast.enqueue (Comparison.targetEmbedding key scene) (queue scene)
            Map.add "queue" (Leaf.Tensor entered) scene.Memory

        {
            SimClr.method with
                Name = "moco-v2"
                Summary = "contrast of a view with a momentum encoder's view and a queue"
                Citation =
                    "Chen, Fan, Girshick and He: Improved Baselines with Momentum Contrastive Learning, 2020"
                Step =
                    Step.create
                        (SimClr.twoViews (SimClr.views 0.2 0.5))
                        (Pass.train "clean" [ "v1" ] clean :: compare.Beside key query)
                        (sprintf "InfoNCE of F(x1) with k(x2) and %d earlier keys, T = 0.2" length)
                        (compare.Between key query)
                Averages = [
                    { Name = keys; Decay = Schedule.cosine 0.99 0.999; Statistics = Own; Lags = false }
                ]
                Memory = { Init = first; After = after }
                Recipe = {
                    SimClr.method.Recipe with
                        Optimizer = Transform.sgd (Schedule.warmUp 10 (Schedule.cosine 0.3 0.0)) 0.9 1e-4
                        Batch = 256
                }
        }

    let method = create 32768
