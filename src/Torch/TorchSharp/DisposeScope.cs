using System;
using System.Collections.Generic;
using System.Linq;

namespace TorchSharp;

/// <summary>
/// Holds what was created on its thread while it was the innermost scope, and disposes it at the end.
/// </summary>
public sealed class DisposeScope : IDisposable
{
    private readonly HashSet<IDisposable> held = new(ReferenceEqualityComparer.Instance);
    private readonly DisposeScopeManager home;
    private readonly DisposeScope? outer;
    private bool disposed;

    internal DisposeScope(DisposeScopeManager home, DisposeScope? outer)
    {
        this.home = home;
        this.outer = outer;
    }

    /// <summary>A copy of the list of what it holds.</summary>
    public IReadOnlyList<IDisposable> DisposablesView => held.ToList();

    /// <summary>How many things it holds.</summary>
    public int DisposablesCount => held.Count;

    /// <summary>The enclosing scope that is still open.</summary>
    private DisposeScope? Outer
    {
        get
        {
            var scope = outer;
            while (scope is { disposed: true }) scope = scope.outer;
            return scope;
        }
    }

    public T MoveToOuter<T>(T disposable) where T : IDisposable
    {
        Move(disposable, Outer);
        return disposable;
    }

    public (T1, T2) MoveToOuter<T1, T2>(T1 first, T2 second) where T1 : IDisposable where T2 : IDisposable =>
        (MoveToOuter(first), MoveToOuter(second));

    public (T1, T2, T3) MoveToOuter<T1, T2, T3>(T1 first, T2 second, T3 third)
        where T1 : IDisposable where T2 : IDisposable where T3 : IDisposable =>
        (MoveToOuter(first), MoveToOuter(second), MoveToOuter(third));

    public void MoveToOuter(params IDisposable[] disposables) =>
        MoveToOuter((IEnumerable<IDisposable>)disposables);

    public void MoveToOuter(IEnumerable<IDisposable> disposables)
    {
        foreach (var disposable in disposables) Move(disposable, Outer);
    }

    public T MoveToOther<T>(DisposeScope scope, T disposable) where T : IDisposable
    {
        Move(disposable, scope);
        return disposable;
    }

    public (T1, T2) MoveToOther<T1, T2>(DisposeScope scope, T1 first, T2 second)
        where T1 : IDisposable where T2 : IDisposable =>
        (MoveToOther(scope, first), MoveToOther(scope, second));

    public (T1, T2, T3) MoveToOther<T1, T2, T3>(DisposeScope scope, T1 first, T2 second, T3 third)
        where T1 : IDisposable where T2 : IDisposable where T3 : IDisposable =>
        (MoveToOther(scope, first), MoveToOther(scope, second), MoveToOther(scope, third));

    public void MoveToOther(DisposeScope scope, params IDisposable[] disposables) =>
        MoveToOther(scope, (IEnumerable<IDisposable>)disposables);

    public void MoveToOther(DisposeScope scope, IEnumerable<IDisposable> disposables)
    {
        foreach (var disposable in disposables) Move(disposable, scope);
    }

    public T Detach<T>(T disposable) where T : IDisposable
    {
        Move(disposable, null);
        return disposable;
    }

    public (T1, T2) Detach<T1, T2>(T1 first, T2 second) where T1 : IDisposable where T2 : IDisposable =>
        (Detach(first), Detach(second));

    public (T1, T2, T3) Detach<T1, T2, T3>(T1 first, T2 second, T3 third)
        where T1 : IDisposable where T2 : IDisposable where T3 : IDisposable =>
        (Detach(first), Detach(second), Detach(third));

    public void Detach(params IDisposable[] disposables) => Detach((IEnumerable<IDisposable>)disposables);

    public void Detach(IEnumerable<IDisposable> disposables)
    {
        foreach (var disposable in disposables) Move(disposable, null);
    }

    public void Attach(IDisposable disposable)
    {
        if (disposable is null) return;
        if (disposable is torch.Tensor { OwningScope: { } owner })
        {
            owner.Move(disposable, this);
            return;
        }
        if (disposable is torch.Tensor) DisposeScopeManager.OfThread.Tensors.AttachedToScopeCount++;
        Take(disposable);
    }

    public void Attach(params IDisposable[] disposables) => Attach((IEnumerable<IDisposable>)disposables);

    public IReadOnlyList<IDisposable> Attach(IEnumerable<IDisposable> disposables)
    {
        var all = disposables.ToList();
        foreach (var disposable in all) Attach(disposable);
        return all;
    }

    public void DisposeEverything() => DisposeEverythingBut((IEnumerable<IDisposable>)[]);

    public void DisposeEverythingBut(IEnumerable<IDisposable> inKeep)
    {
        var given = inKeep.Where(kept => kept is not null);
        var keep = new HashSet<IDisposable>(given, ReferenceEqualityComparer.Instance);
        foreach (var disposable in held.Where(one => !keep.Contains(one)).ToArray())
        {
            disposable.Dispose();
            held.Remove(disposable); // a tensor has already taken itself out
        }
    }

    public void DisposeEverythingBut(params IDisposable[] keep) =>
        DisposeEverythingBut((IEnumerable<IDisposable>)keep);

    public T DisposeEverythingBut<T>(T keep) where T : IDisposable
    {
        DisposeEverythingBut((IEnumerable<IDisposable>)[keep]);
        return keep;
    }

    public (T1, T2) DisposeEverythingBut<T1, T2>(T1 first, T2 second)
        where T1 : IDisposable where T2 : IDisposable
    {
        DisposeEverythingBut((IEnumerable<IDisposable>)[first, second]);
        return (first, second);
    }

    public (T1, T2, T3) DisposeEverythingBut<T1, T2, T3>(T1 first, T2 second, T3 third)
        where T1 : IDisposable where T2 : IDisposable where T3 : IDisposable
    {
        DisposeEverythingBut((IEnumerable<IDisposable>)[first, second, third]);
        return (first, second, third);
    }

    /// <summary>Closes the scope and disposes what it still holds.</summary>
    public void Dispose()
    {
        if (disposed) return;
        disposed = true;
        home.Close(this);
        foreach (var disposable in held)
        {
            // taken out first, so that it does not change the set while this loop reads it
            if (disposable is torch.Tensor tensor)
            {
                tensor.OwningScope = null;
                tensor.Free(inScope: true);
            }
            else
            {
                disposable.Dispose();
            }
        }
        held.Clear();
    }

    /// <summary>Forgets something that has been disposed.</summary>
    public void MarkAsDisposed(IDisposable disposable)
    {
        if (held.Remove(disposable) && disposable is torch.Tensor tensor) tensor.OwningScope = null;
    }

    public bool Contains(IDisposable disposable) => held.Contains(disposable);

    /// <summary>Holds something from now on.</summary>
    internal void Take(IDisposable disposable)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        held.Add(disposable);
        if (disposable is torch.Tensor tensor) tensor.OwningScope = this;
    }

    /// <summary>The same for a tensor just made.</summary>
    internal void TakeNew(torch.Tensor tensor)
    {
        held.Add(tensor);
        tensor.OwningScope = this;
    }

    private void Move(IDisposable disposable, DisposeScope? to)
    {
        if (disposable is null || ReferenceEquals(to, this) || !held.Remove(disposable)) return;
        if (to is not null)
        {
            to.Take(disposable);
        }
        else if (disposable is torch.Tensor tensor)
        {
            tensor.OwningScope = null;
            DisposeScopeManager.OfThread.Tensors.DetachedFromScopeCount++;
        }
    }
}
