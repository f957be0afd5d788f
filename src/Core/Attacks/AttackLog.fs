namespace AdvContrast.Core.Attacks

open System.Collections.Generic
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses

/// Where numbers that are not finite arise in an attack: in the classifier's logits, in the loss, in its
/// gradient.
[<RequireQualifiedAccess>]
module NotFinite =

    [<Literal>]
    let Logits = "logits"

    [<Literal>]
    let Loss = "loss"

    [<Literal>]
    let Gradient = "gradient"

    /// All places.
    let places = [ Logits; Loss; Gradient ]

    /// The place where a value was not finite, as flags name it.
    let flag place = place + " not finite"

    /// Whether no flag says that something was not finite.
    let isNotIn (flags: Set<string>) = places |> List.forall (flag >> flags.Contains >> not)

/// Log of a running attack, one row an image; updated in place.
[<NoEquality; NoComparison>]
type internal AttackLog = {
    /// The result so far: the originals until something else is stored.
    Stored: Tensor
    /// Points evaluated.
    Points: int64[]
    FirstSuccess: int64[]
    Forwards: int64[]
    Gradients: int64[]
    ZeroGradients: int64[]
    /// For each place where numbers that are not finite may arise, at how many points they did.
    NotFinite: Map<string, int64[]>
    Flags: HashSet<string>
}

/// Rows of a batch, by number: what attacks that go on with some of their images need.
[<RequireQualifiedAccess>]
module internal AttackLog =

    let index (like: Tensor) (rows: int64[]) = torch.tensor(rows).``to`` like.device

    let pick (rows: int64[]) (all: Tensor) = Scope.tensor (fun () -> all.index_select (0L, index all rows))

    let bools (mask: Tensor) = Scope.value (fun () -> mask.cpu().contiguous().data<bool>().ToArray())

    /// Where an array holds what is wanted.
    let places wanted (flags: bool[]) = [|
        for place in 0 .. flags.Length - 1 do
            if flags[place] = wanted then int64 place
    |]

    let start (images: Tensor) =
        let n = int images.shape[0]

        {
            Stored = images.detach().clone()
            Points = Array.zeroCreate n
            FirstSuccess = Array.create n -1L
            Forwards = Array.zeroCreate n
            Gradients = Array.zeroCreate n
            ZeroGradients = Array.zeroCreate n
            NotFinite = Map [ for place in NotFinite.places -> place, Array.zeroCreate n ]
            Flags = HashSet<string>()
        }

    let unsolved ledger (rows: int64[]) = rows |> Array.filter (fun row -> ledger.FirstSuccess[int row] < 0L)

    /// Records one evaluation of some rows: its passes, and which rows succeeded.
    let look ledger (forwards: int64) (gradients: int64) (rows: int64[]) (won: bool[]) =
        rows
        |> Array.iteri (fun place row ->
            let row = int row
            ledger.Forwards[row] <- ledger.Forwards[row] + forwards
            ledger.Gradients[row] <- ledger.Gradients[row] + gradients

            if won[place] && ledger.FirstSuccess[row] < 0L then
                ledger.FirstSuccess[row] <- ledger.Points[row]

            ledger.Points[row] <- ledger.Points[row] + 1L)

    /// Stores images of a batch: for each of some rows, the one at its place.
    let store ledger (rows: int64[]) (places: int64[]) (x: Tensor) =
        if rows.Length > 0 then
            Scope.value (fun () -> ledger.Stored.index_copy_ (0L, index x rows, pick places x) |> ignore)

    /// Writes down which of some rows had a gradient that is 0 everywhere.
    let still ledger (rows: int64[]) (mask: Tensor) =
        bools mask
        |> Array.iteri (fun place still ->
            if still then
                let row = int rows[place]
                ledger.ZeroGradients[row] <- ledger.ZeroGradients[row] + 1L
                ledger.Flags.Add "zero gradient" |> ignore)

    /// Writes down at which of some rows the numbers of a place were not finite.
    let note ledger place (rows: int64[]) (finite: bool[]) =
        finite
        |> Array.iteri (fun at finite ->
            if not finite then
                let row = int rows[at]
                ledger.NotFinite[place][row] <- ledger.NotFinite[place][row] + 1L
                ledger.Flags.Add(NotFinite.flag place) |> ignore)

    /// Writes down which of some rows had a gradient that is 0 everywhere where it matters, and which one
    /// that is not finite. Result: the gradient with 0 for what is not finite.
    let slope ledger (rows: int64[]) (matters: Tensor option) (gradient: Tensor) =
        Scope.tensor (fun () ->
            let lengths = Projection.length Linf gradient
            let flat = lengths.eq (0.0.ToScalar())
            let flat = matters |> Option.fold (fun (flat: Tensor) matters -> flat.logical_and matters) flat
            still ledger rows flat
            let finite = bools (lengths.isfinite ())
            note ledger NotFinite.Gradient rows finite

            if Array.contains false finite then GradientAttackLoop.calm gradient else gradient.alias ())

    /// Takes over what a run over some of the rows has written into a ledger of its own; not what it has
    /// stored.
    let join ledger (rows: int64[]) (run: AttackLog) =
        ledger.Flags.UnionWith run.Flags

        rows
        |> Array.iteri (fun place row ->
            let row = int row

            if run.FirstSuccess[place] >= 0L && ledger.FirstSuccess[row] < 0L then
                ledger.FirstSuccess[row] <- ledger.Points[row] + run.FirstSuccess[place]

            ledger.Points[row] <- ledger.Points[row] + run.Points[place]
            ledger.Forwards[row] <- ledger.Forwards[row] + run.Forwards[place]
            ledger.Gradients[row] <- ledger.Gradients[row] + run.Gradients[place]
            ledger.ZeroGradients[row] <- ledger.ZeroGradients[row] + run.ZeroGradients[place]

            for KeyValue(where, counts) in run.NotFinite do
                ledger.NotFinite[where][row] <- ledger.NotFinite[where][row] + counts[place])
