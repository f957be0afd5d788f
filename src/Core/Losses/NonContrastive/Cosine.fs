namespace AdvContrast.Core.Losses

open AdvContrast.Core
open AdvContrast.Core.Foundation

/// The cosine of each row with its partner, which several losses are made of.
[<RequireQualifiedAccess>]
module internal Cosine =

    /// x, y: [n; d], raw; who calls has checked them. Result [n], in float32 at least.
    let rows (x: Tensor) (y: Tensor) =
        Scope.tensor (fun () -> (Similarity.normalise x * Similarity.normalise y).sum 1L)

    /// The same, y fixed.
    let towards (y: Tensor) (x: Tensor) = Scope.tensor (fun () -> rows x (y.detach ()))
