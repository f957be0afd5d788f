namespace AdvContrast.Core.Methods

open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Losses

/// SimCLR (Chen, Kornblith, Norouzi and Hinton, ICML 2020): two views of each image, NT-Xent between them.
[<RequireQualifiedAccess>]
module SimClr =

    let clean = Branch "clean"

    /// Crop and flip, jitter, grey: strength scales the jitter. Blur is left out for images of 32 pixels, as
    /// in the paper's appendix B.9.
    let views (smallestCrop: float) (strength: float) =
        let s = strength

        View.compose [
            Crop.randomResized smallestCrop
            View.sometimes 0.8 (Colour.jitter (0.8 * s) (0.8 * s) (0.8 * s) (0.2 * s))
            View.sometimes 0.2 Colour.grey
        ]

    /// Two views of the image by the same augmentation.
    let twoViews (view: View) = Step.views [ "v1", view; "v2", view ]

    /// NT-Xent between a view in one pass and a view in another, or in the same.
    let contrast temperature pass1 view1 pass2 view2 : Loss =
        fun scene ->
            InfoNce.ntXent
                temperature
                (LossContext.embedding pass1 view1 scene)
                (LossContext.embedding pass2 view2 scene)

    /// NT-Xent as a comparison that an adversary can join.
    let comparison temperature = Comparison.ofEmbeddings (InfoNce.ntXent temperature)

    /// As published for CIFAR-10 (appendix B.9), with NT-Xent at T = 0.5.
    let method = {
        Name = "simclr"
        Summary = "contrast of two clean views"
        Citation =
            "Chen, Kornblith, Norouzi and Hinton: A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020"
        Quirks = Map.empty
        Before = []
        From = None
        Branches = [ clean ]
        Head = Head.mlp 128L
        Step =
            Step.create
                (twoViews (views 0.08 0.5))
                [ Pass.train "clean" [ "v1"; "v2" ] clean ]
                "NTX(F(x1), F(x2)), T = 0.5"
                (contrast 0.5 "clean" "v1" "clean" "v2")
        Averages = []
        Memory = Memory.none
        Sampling = Everything
        Recipe = {
            Optimizer = Transform.larsMomentum (Schedule.warmUp 10 (Schedule.cosine 4.0 0.0)) 0.9 1e-3 1e-6
            Batch = 512
            Epochs = 1000
            Replays = 1
            Dataset = "cifar10"
            Network = "resnet18"
            Trains = Recipe.everything
        }
        Deploy = Online, clean
    }
