using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using AdvContrast.Engine;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;

namespace AdvContrast;

/// <summary>What crosses from F# to C#: errors become exceptions, absent values null.</summary>
internal static class Interop
{
    /// <summary>The value, or the fault as an exception.</summary>
    internal static T OrThrow<T>(this FSharpResult<T, Core.Foundation.Error> result) =>
        result.IsOk ? result.ResultValue : throw Exception([result.ErrorValue]);

    /// <summary>The value, or all faults as one exception, or the stop that the token asked for.</summary>
    internal static T OrThrow<T>(
        this FSharpResult<T, FSharpList<Core.Foundation.Error>> result, CancellationToken cancellation)
    {
        if (result.IsOk) return result.ResultValue;
        if (!result.ErrorValue.Contains(Core.Foundation.Error.Interrupted)) throw Exception(result.ErrorValue);
        throw new OperationCanceledException(
            Core.Foundation.ErrorModule.message(Core.Foundation.Error.Interrupted), cancellation);
    }

    /// <summary>The value, or the fault as an exception, or the stop that the token asked for.</summary>
    internal static T OrThrow<T>(this FSharpResult<T, Core.Foundation.Error> result, CancellationToken cancellation)
    {
        if (result.IsError && result.ErrorValue.Equals(Core.Foundation.Error.Interrupted))
            throw new OperationCanceledException(
                Core.Foundation.ErrorModule.message(Core.Foundation.Error.Interrupted), cancellation);
        return result.OrThrow();
    }

    internal static AdvContrastException Exception(IEnumerable<Core.Foundation.Error> errors) =>
        new([.. errors.SelectMany(Core.Foundation.ErrorModule.flatten).Select(error => new Fault(
            (ErrorCode)Core.Foundation.ErrorModule.exitCode(error), Core.Foundation.ErrorModule.message(error)))]);

    internal static T? OrNull<T>(this FSharpOption<T>? option) where T : class => option?.Value;

    internal static T? OrNone<T>(this FSharpOption<T>? option) where T : struct => option?.Value;

    /// <summary>Runs work that may be the first to need libtorch.</summary>
    internal static T Run<T>(Func<T> work)
    {
        try
        {
            LibTorch.Load();
            return work();
        }
        catch (LibTorchException e)
        {
            throw new AdvContrastException([new Fault(ErrorCode.Runtime, e.Message)], e);
        }
    }

    /// <summary>
    /// Runs long work on a thread of its own: dispose scopes and the gradient mode belong to a thread.
    /// </summary>
    internal static Task<T> RunAlone<T>(Func<T> work, CancellationToken cancellation) =>
        Task.Factory.StartNew(
            () => Run(work), cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default);
}
