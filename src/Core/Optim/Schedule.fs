namespace AdvContrast.Core.Optim

open AdvContrast.Core.Foundation

/// A number that may change during training.
type Schedule = Named<Progress -> float>

/// Curves over a run, what part of the run they are shown, and how they follow one another. Epochs are
/// counted from 0: what holds "from epoch 10 on" holds once 10 epochs are done.
[<RequireQualifiedAccess>]
module Schedule =

    // --- curves

    /// The same number always.
    let constant (value: float) : Schedule = Named.create (sprintf "%g" value) (fun _ -> value)

    let private part p = float p.Step / float (max 1L p.Steps)

    /// From the peak to the floor along half a cosine, per step (Loshchilov and Hutter 2017, eq. 5). From a
    /// base upwards to 1 it is BYOL's momentum, 1 - (1 - base)(cos(pi k/K) + 1)/2 (Grill et al. 2020).
    let cosine (peak: float) (floor: float) : Schedule =
        Named.create (sprintf "cosine %g to %g" peak floor) (fun p ->
            floor + 0.5 * (peak - floor) * (1.0 + cos (System.Math.PI * part p)))

    /// From the one number to the other along a line, per step.
    let linear (start: float) (finish: float) : Schedule =
        Named.create (sprintf "linear %g to %g" start finish) (fun p -> start + (finish - start) * part p)

    /// Rises towards a number, (1 + k) / (10 + k) at step k until it is reached: the decay of an average that
    /// shall forget a random start in a short run as well (num_updates of TensorFlow's averages).
    let rising (value: float) : Schedule =
        Named.create (sprintf "rising to %g" value) (fun p ->
            let k = float p.Step
            min value ((1.0 + k) / (10.0 + k)))

    // --- what a schedule is shown

    /// Shows a schedule the epochs alone, as if each were one step.
    let perEpoch (schedule: Schedule) : Schedule =
        Named.create (schedule.Text + ", by epochs") (fun p ->
            schedule.Run { Progress.start 1 p.Epochs with Step = int64 p.Epoch; Epoch = p.Epoch })

    /// Evaluates a schedule at the start of every k-th epoch and keeps its value until the next.
    let refreshed k (schedule: Schedule) : Schedule =
        if k < 1 then invalidArg (nameof k) (sprintf "k must be at least 1 epoch, got %d." k)
        Named.create (sprintf "%s, refreshed every %d epochs" schedule.Text k) (fun p ->
            schedule.Run(Progress.atEpoch (p.Epoch / k * k) p))

    /// Shows a schedule the run some epochs later: rules that count epochs from 1 are one ahead.
    let ahead epochs (schedule: Schedule) : Schedule =
        Named.create (sprintf "%s, %d ahead" schedule.Text epochs) (fun p ->
            schedule.Run {
                p with
                    Step = p.Step + int64 epochs * int64 p.StepsPerEpoch
                    Epoch = p.Epoch + epochs
            })

    // The run between two epochs as if it were all of it; before, its start, and afterwards its end.
    let private stretch first last p =
        let epochs = last - first
        let step = p.Step - int64 first * int64 p.StepsPerEpoch
        let whole = { p with Step = step; Epoch = p.Epoch - first; Epochs = epochs }

        if step < 0L then Progress.atEpoch 0 whole
        elif step > whole.Steps then Progress.atEpoch epochs whole
        else whole

    /// Shows a schedule the run between two epochs as if it were all of it. Before, it says what it says at
    /// its start, and afterwards what it says at its end.
    let during first last (schedule: Schedule) : Schedule =
        if first < 0 || last < first then
            invalidArg (nameof last) (sprintf "expected 0 <= first <= last, got %d and %d." first last)

        Named.create (sprintf "%s in epochs %d to %d" schedule.Text first last) (fun p ->
            schedule.Run(stretch first last p))

    /// Shows a schedule the run from an epoch on as if it began there.
    let since epoch (schedule: Schedule) : Schedule =
        Named.create (sprintf "%s since epoch %d" schedule.Text epoch) (fun p ->
            schedule.Run(stretch (min epoch p.Epochs) p.Epochs p))

    // --- one after another

    /// The first schedule, then each of the others from its epoch on; all see the whole run.
    let join (first: Schedule) (later: (int * Schedule) list) : Schedule =
        let epochs = later |> List.map fst
        if epochs <> List.sort (List.distinct epochs) then
            invalidArg (nameof later) (sprintf "expected epochs that rise, got %A." epochs)

        let text = later |> List.map (fun (epoch, schedule) -> sprintf "%s from epoch %d" schedule.Text epoch)

        Named.create (String.concat ", then " (first.Text :: text)) (fun p ->
            let now = later |> List.tryFindBack (fun (epoch, _) -> p.Epoch >= epoch)
            (now |> Option.map snd |> Option.defaultValue first).Run p)

    /// The peak, and from each epoch on this part of the peak: <c>drops 0.1 [ 15, 0.1; 20, 0.01 ]</c>.
    let drops (peak: float) (parts: (int * float) list) : Schedule =
        join (constant peak) (parts |> List.map (fun (epoch, part) -> epoch, constant (peak * part)))

    // Along a line to what the other schedule says at an epoch, then that schedule.
    let private rise text (start: float) epochs (already: int64) (after: Schedule) : Schedule =
        Named.create text (fun p ->
            let epochs = min epochs p.Epochs
            let steps = int64 epochs * int64 p.StepsPerEpoch

            if p.Step < steps then
                let peak = after.Run(Progress.atEpoch epochs p)
                start + (peak - start) * float (p.Step + already) / float steps
            else
                after.Run p)

    /// Linear from 0 to the peak over the first epochs, per step and reaching its k-th part at the k-th step,
    /// then the other schedule over the epochs that are left.
    let warmUp epochs (after: Schedule) : Schedule =
        rise (sprintf "%d epochs of warm-up, then %s" epochs after.Text) 0.0 epochs 1L (since epochs after)

    /// Linear over the first epochs, per step, from a number at the first step towards what the other
    /// schedule says at the epoch where it takes over. That one sees the whole run (<c>since</c> lets it begin
    /// there), as in the code of Khosla et al. 2020.
    let riseFrom (start: float) epochs (after: Schedule) : Schedule =
        rise (sprintf "%d epochs from %g, then %s" epochs start after.Text) start epochs 0L after
