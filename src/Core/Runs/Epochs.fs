namespace AdvContrast.Core.Runs

open AdvContrast.Core.Foundation
open AdvContrast.Core.Methods

/// What a run's number of epochs means for its schedules.
[<RequireQualifiedAccess>]
module Epochs =

    /// Where a resumed run stands when it has this many epochs in all, and a sentence where that is another number
    /// than before. Error for fewer than it has begun.
    let extend epochs (at: Progress) : Result<Progress * string option, Error> =
        let begun = at.Epoch + (if at.StepInEpoch > 0 then 1 else 0)

        if epochs = at.Epochs then
            Ok(at, None)
        elif epochs < begun || epochs = begun && at.StepInEpoch = 0 then
            let problem =
                sprintf "the run has trained %d of %d epochs; give more than %d." begun at.Epochs begun
            Error(Error.BadOption("--epochs", problem))
        else
            let note =
                sprintf
                    "From step %d on the run has %d epochs instead of %d: schedules, as the cosine decay of the learning rate, are those of a run of %d epochs, so the learning rate changes at that step."
                    at.Step
                    epochs
                    at.Epochs
                    epochs

            Ok({ at with Epochs = epochs }, Some note)

    /// A sentence where the learning rate of a method rises until the last of a run's steps, so that the run is all
    /// warm-up.
    let warmUpNote (method: Method) (steps: int64) epochs =
        let start = Progress.start (int (steps / int64 epochs)) epochs
        let at step = Seq.init (int step) ignore |> Seq.fold (fun p () -> Progress.next p) start

        match method.Recipe.Optimizer.Rate with
        | Some rate when steps > 1L ->
            let rates =
                [ for step in 0L .. max 1L (steps / 16L) .. steps - 1L -> rate.Run(at step) ]
                @ [ rate.Run(at (steps - 1L)) ]
            let last = List.last rates

            if last > rates.Head && last >= List.max rates then
                let text =
                    sprintf
                        "The learning rate rises until the last step (%.3g there), so that the whole run is warm-up; give more --epochs or another --optimizer."
                        last
                Some text
            else
                None
        | _ -> None

    /// A sentence where a run has fewer images than its batches are to hold.
    let batchNote (batch: int) (images: int64) =
        if int64 batch <= images then
            None
        else
            Some(
                sprintf
                    "The batch of %d images is larger than the training set of %d, so each step has all of them."
                    batch
                    images
            )
