namespace AdvContrast.Core.Methods

open System
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Attacks

/// How rows are put into clusters.
type KMeans = {
    Clusters: int
    /// Each gives every row to its nearest centre and moves the centres to the means; in one try, at most.
    MostRounds: int
    /// Each from a start of its own; the one with the least inertia counts.
    Tries: int
}

/// Rows in clusters, none of which is empty.
[<NoEquality; NoComparison>]
type Clustering = {
    /// The cluster of each row, int64 [n].
    Assignments: Tensor
    /// The mean of each cluster's rows, [k; d].
    Centres: Tensor
    /// The sum of the rows' squared distances to their centres.
    Inertia: float
    /// How many were made in the try that counts.
    Rounds: int
    /// No row changed its cluster any more, so each is in that of its nearest centre.
    Settled: bool
}

/// Lloyd's k-means (1982) from k-means++ starts (Arthur and Vassilvitskii 2007). The same seed gives the same
/// bytes, and what a row draws belongs to its id, so that the order of the rows does not matter.
[<RequireQualifiedAccess>]
module KMeans =

    /// Three tries of at most 300 rounds.
    let create clusters = { Clusters = clusters; MostRounds = 300; Tries = 3 }

    // The rows about their mean, which keeps digits, and their squared lengths.
    [<NoEquality; NoComparison>]
    type private Rows = {
        X: Tensor
        Squares: Tensor
    } with

        member rows.Count = int rows.X.shape[0]
        member rows.Width = int rows.X.shape[1]

    // 16 MB of float32.
    let private numbersAtOnce = 1 <<< 22

    // Parts of the rows, of a size that `width` numbers a row fit.
    let private parts width (rows: Rows) = seq {
        let most = max 1 (numbersAtOnce / width)

        for start in 0..most .. rows.Count - 1 do
            int64 start, int64 (min most (rows.Count - start))
    }

    let private assemble (tensors: Tensor seq) = torch.cat (ResizeArray tensors, 0L)

    let private wholes (x: Tensor) = Scope.value (fun () -> x.cpu().data<int64>().ToArray())
    let private floats (x: Tensor) =
        Scope.value (fun () -> x.``to``(torch.float64).cpu().data<float>().ToArray())

    // The nearest centre of each row, and its squared distance, by |x|^2 - 2 x.c + |c|^2.
    let private nearest rows (centres: Tensor) =
        Scope.keeping (fun (nearest, distances) -> [ nearest; distances ]) (fun () ->
            let lengths = centres.square().sum(1L)
            let turned = centres.t ()

            let found = [
                for start, count in parts (int centres.shape[0]) rows do
                    let part = rows.X.narrow (0L, start, count)
                    Scope.keeping (fun (least, at) -> [ least; at ]) (fun () ->
                        let struct (least, at) = lengths.addmm(part, turned, 1.0f, -2.0f).min(1L)
                        least, at)
            ]

            let least = assemble (List.map fst found)
            assemble (List.map snd found), (least + rows.Squares).clamp_min(0.0.ToScalar()))

    // A cluster that is nobody's nearest takes the row that lies farthest from its centre and is not alone
    // there. In place; how many rows each cluster has then.
    let private fill k (clusters: int64[]) (distances: Tensor) =
        let counts = Array.zeroCreate<int> k

        for cluster in clusters do
            counts[int cluster] <- counts[int cluster] + 1

        if Array.contains 0 counts then
            let away = floats distances
            // Equal distances in the order of the rows.
            let farthest = Array.init clusters.Length id |> Array.sortBy (fun row -> struct (-away[row], row))
            let mutable next = 0

            for cluster in 0 .. k - 1 do
                if counts[cluster] = 0 then
                    // There are as many rows as clusters, so while one is empty another has two or more.
                    while counts[int clusters[farthest[next]]] < 2 do
                        next <- next + 1

                    let row = farthest[next]
                    let from = int clusters[row]
                    counts[from] <- counts[from] - 1
                    counts[cluster] <- 1
                    clusters[row] <- int64 cluster

        counts

    // The clusters' sums are products with their indicators, which add in one order on every device.
    let private means (rows: Rows) (clusters: int64[]) (counts: int[]) =
        Scope.tensor (fun () ->
            let here (values: Tensor) = values.``to`` rows.X.device
            let assignments = here (torch.tensor clusters)
            let names = here (torch.tensor [| 0L .. int64 counts.Length - 1L |])
            let shape = [| int64 counts.Length; int64 rows.Width |]
            let sums = torch.zeros (shape, rows.X.dtype, rows.X.device)

            for start, count in parts (max counts.Length rows.Width) rows do
                Scope.value (fun () ->
                    let part = assignments.narrow(0L, start, count).unsqueeze(0L)
                    let indicator = names.unsqueeze(1L).eq(part).``to`` rows.X.dtype
                    sums.addmm_ (indicator, rows.X.narrow (0L, start, count)) |> ignore)

            sums / (here (torch.tensor (Array.map float counts))).``to``(rows.X.dtype).unsqueeze(1L))

    let private inertia (rows: Rows) (assignments: Tensor) (centres: Tensor) =
        parts rows.Width rows
        |> Seq.sumBy (fun (start, count) ->
            Scope.value (fun () ->
                let own = centres.index_select (0L, assignments.narrow (0L, start, count))
                let away = (rows.X.narrow (0L, start, count) - own).square().sum(1L)
                away.``to``(torch.float64).sum().item<float>()))

    // A row in proportion to its weight: each has a clock that rings after an exponential time at the
    // weight's rate, and the first one wins.
    let private pick draw index rows (weights: Tensor) =
        Scope.tensor (fun () ->
            let digits = (Rng.uniform [ 2L ] (Rng.sub (string index) draw)).``to`` torch.float64
            let uniform = digits.select (1L, 0L) + digits.select (1L, 1L) / 16777216.0
            let weights = weights.``to`` torch.float64
            let times = uniform.neg().log1p().neg().``to``(weights.device) / weights
            let never = torch.full_like (times, Double.PositiveInfinity.ToScalar())
            let ring = torch.where (weights.gt (0.0.ToScalar()), times, never)
            rows.X.index_select (0L, ring.argmin().view(1L)))

    let private start k draw rows =
        Scope.tensor (fun () ->
            let closer (before: Tensor) (centre: Tensor) =
                Scope.tensor (fun () ->
                    let away = rows.Squares - rows.X.mv (centre.view (-1L)) * 2.0 + centre.square().sum()
                    away.clamp_min(0.0.ToScalar()).minimum(before))

            let choose (centres, distances: Tensor) index =
                let centre =
                    pick draw index rows (if index = 0 then torch.ones_like distances else distances)
                let closer = closer distances centre
                distances.Dispose()
                centre :: centres, closer

            let everywhere = torch.full_like (rows.Squares, Double.PositiveInfinity.ToScalar())
            ((([]: Tensor list), everywhere), [ 0 .. k - 1 ])
            ||> List.fold choose
            |> fst
            |> List.rev
            |> assemble)

    // Nearest centres and means in turn, until no row changes its cluster.
    let private lloyd settings rows (centres: Tensor) =
        let rec go rounds (before: int64[]) (centres: Tensor) =
            let clusters, counts =
                Scope.value (fun () ->
                    let nearest, distances = nearest rows centres
                    let clusters = wholes nearest
                    let counts = fill settings.Clusters clusters distances
                    clusters, counts)

            if clusters = before || rounds = settings.MostRounds then
                before, centres, rounds, clusters = before
            else
                let next = means rows clusters counts
                centres.Dispose()
                go (rounds + 1) clusters next

        go 0 [||] centres

    let private attempt settings draw rows =
        Scope.keeping (fun found -> [ found.Assignments; found.Centres ]) (fun () ->
            let clusters, centres, rounds, settled = lloyd settings rows (start settings.Clusters draw rows)
            let assignments = (torch.tensor clusters).``to`` rows.X.device

            {
                Assignments = assignments
                Centres = centres
                Inertia = inertia rows assignments centres
                Rounds = rounds
                Settled = settled
            })

    /// Puts rows into clusters. features: float32 or float64 [n; d], finite, on any device; the draw has one
    /// id a row. The result is on the features' device.
    let fit settings (draw: Rng) (features: Tensor) =
        let atLeastOne name value =
            if value < 1 then invalidArg name (sprintf "%s must be at least 1, got %d." name value)

        Shape.rank "n;d" (nameof features) features
        let n = features.shape[0]
        atLeastOne (nameof settings.Clusters) settings.Clusters
        atLeastOne (nameof settings.MostRounds) settings.MostRounds
        atLeastOne (nameof settings.Tries) settings.Tries

        if int64 settings.Clusters > n then
            invalidArg
                (nameof settings.Clusters)
                (sprintf "%d rows cannot fill %d clusters." n settings.Clusters)

        if draw.Ids.LongLength <> n then
            invalidArg
                (nameof draw)
                (sprintf "expected one id a row, got %d ids for %d rows." draw.Ids.Length n)

        if features.dtype <> torch.float32 && features.dtype <> torch.float64 then
            invalidArg (nameof features) (sprintf "expected float32 or float64, got %O." features.dtype)

        Scope.keeping (fun best -> [ best.Assignments; best.Centres ]) (fun () ->
            use _ = torch.no_grad ()
            let mean = features.detach().mean([| 0L |], true)
            let x = features.detach () - mean
            let rows = { X = x; Squares = Scope.tensor (fun () -> x.square().sum(1L)) }

            // One number that is not finite spoils the mean, and with it every square.
            if not (rows.Squares.isfinite().all().item<bool>()) then
                invalidArg (nameof features) "features must be finite, and so must be their squares."

            let best =
                [ 1 .. settings.Tries ]
                |> List.map (fun index -> attempt settings (Rng.sub (sprintf "try%d" index) draw) rows)
                |> List.minBy _.Inertia

            { best with Centres = best.Centres + mean })
